//! Packs for tests: small ones with every kind of record.

use std::sync::LazyLock;

use watertight_content::pack::{build, parse_release, BuildError, Built, Policy, Release, Sources};
use watertight_content::sigma::Source;
use watertight_policy::{Action, Mode, Operation, Rule, Target};

/// Rules with every kind of question.
pub const RULES: &str = r"title: Texts
id: 00000000-0000-4000-8000-000000000001
logsource: {category: c, product: p}
detection:
  words:
    Image|endswith: [/sh, /bash]
    CommandLine|contains|all: [curl, '| sh']
  wild:
    CommandLine: 'a*b?c'
  dashes:
    CommandLine|windash|contains: ' -enc'
  condition: words or wild or dashes
---
title: Others
id: 00000000-0000-4000-8000-00000000000a
logsource: {category: c}
detection:
  expression:
    CommandLine|re: '(foo|bar)\d{2,4}\s'
  number:
    Port|gte: 1024
  net:
    Ip|cidr: 10.0.0.0/8
  same:
    Image|fieldref|endswith: Name
  absent:
    Parent: null
  keywords:
    - evil
    - 'wo*rd'
  condition: (expression or number or net or same or keywords) and not absent
";

/// What must and must not fire them.
pub const TESTS: &str = r"fires:
  - rule: 00000000-0000-4000-8000-000000000001
    category: c
    product: p
    event: {Image: /bin/sh, CommandLine: 'curl x | sh', Port: 1, Real: 1.5, Truth: true}
  - rule: 00000000-0000-4000-8000-00000000000A
    category: c
    events:
      - event: {Parent: p, Port: 80}
      - {event: {Parent: p, Ip: [192.0.2.1, 10.1.2.3]}, after_ms: 5}
silent:
  - rule: 00000000-0000-4000-8000-000000000001
    why: another product
    category: c
    event: {Image: /bin/sh, CommandLine: 'curl x | sh', Parent: null}
  - rule: 00000000-0000-4000-8000-00000000000a
    category: c
    event: {Port: 80}
";

/// Release 7 of `test`.
pub fn release() -> Release {
    parse_release(Source { file: "pack.yml", text: "name: test\nversion: 7\n" }).expect("a release")
}

/// A rule of every kind.
pub fn policy() -> Policy {
    let rule = |id: &str, on: &[Operation], target| Rule {
        id: id.to_owned(),
        action: Action::Deny,
        on: on.to_vec(),
        target,
        mode: Mode::Enforce,
    };
    let address = |text: &str, prefix_bits, port| Target::Address {
        address: text.parse().expect("an address"),
        prefix_bits,
        port,
    };
    Policy {
        version: watertight_policy::VERSION,
        fallback_deny: true,
        rules: vec![
            rule("file", &[Operation::Exec], Target::File("/opt/tools/xmrig".into())),
            rule("under", &[Operation::Write, Operation::Unlink], Target::Under("/srv/www".into())),
            rule("digest", &[Operation::Exec, Operation::Module], Target::Sha256([0xab; 32])),
            rule("four", &[Operation::Connect], address("192.0.2.0", 24, Some(3333))),
            rule("six", &[Operation::Connect], address("2001:db8::1", 128, None)),
        ],
    }
}

/// A pack of these sources.
pub fn built(release: &Release, rules: &str, tests: &str, policy: Option<&Policy>) -> Result<Built, BuildError> {
    build(&Sources {
        release,
        rules: vec![Source { file: "a/rules.yml", text: rules }],
        tests: vec![Source { file: "a/rules.tests.yml", text: tests }],
        policy,
    })
}

/// A pack with every kind of record.
pub fn pack() -> Vec<u8> {
    static PACK: LazyLock<Vec<u8>> =
        LazyLock::new(|| built(&release(), RULES, TESTS, Some(&policy())).expect("good sources").bytes);
    PACK.clone()
}
