//! A row of policy with blank fields, which the code that read it took for filled.

use watertight_content_pack::layout::{PolicyRecord, PolicyRuleRecord, Range, Section};
use watertight_policy::{Action, Mode, Operation, Policy, Rule, Target, VERSION};
use zerocopy::FromBytes as _;

use super::place::{Desk, Host};
use super::raw::{good_pack, rule, with};

const POLICY: &str =
    "version: 1\nrules:\n  - { id: no-miner, action: deny, on: exec, match: { file: /opt/xmrig }, mode: enforce }\n";

fn policy() -> Policy {
    let target = Target::File("/opt/xmrig".into());
    let (action, on, mode) = (Action::Deny, vec![Operation::Exec], Mode::Enforce);
    let rule = Rule { id: "no-miner".to_owned(), action, on, target, mode };
    Policy { version: VERSION, fallback_deny: false, rules: vec![rule] }
}

/// The pack with its one deny rule's record changed: no writer of ours makes it.
fn with_blank(blank: impl FnOnce(&mut PolicyRuleRecord)) -> Vec<u8> {
    with(&good_pack(Some(&policy())), Section::Policy, |bytes| {
        let (_, rest) = PolicyRecord::mut_from_prefix(bytes.as_mut_slice()).expect("a policy");
        let (record, _) = PolicyRuleRecord::mut_from_prefix(rest).expect("its rule");
        blank(record);
    })
}

#[test]
fn the_compiler_alone_refuses_it_by_file_and_line() {
    for (filled, blank) in [("/opt/xmrig", "\"\""), ("no-miner", "\"\""), ("on: exec", "on: []"), ("deny", "")] {
        let desk = Desk::new(&rule("Image|endswith: /museum"), "{Image: /museum}");
        desk.write("policy.yml", &POLICY.replace(filled, blank));
        desk.refuses(&["policy.yml:3:"]);
    }
}

#[test]
fn the_hosts_loader_alone_refuses_it_by_its_rule() {
    let host = Host::new();
    assert_eq!(host.install(&with_blank(|_| {})).code, Some(0), "filled, it is taken");
    host.refuses(&with_blank(|rule| rule.path = Range::default()), &["rule no-miner", "match by file"]);
    host.refuses(&with_blank(|rule| rule.id = Range::default()), &["rule number 1 has no id"]);
    host.refuses(&with_blank(|rule| rule.operations = 0.into()), &["rule no-miner is on no operation"]);
    host.refuses(&with_blank(|rule| rule.action = 0.into()), &["unknown action"]);
    host.refuses(&with_blank(|rule| rule.mode = 0.into()), &["unknown mode"]);
    host.refuses(&with_blank(|rule| rule.target = 0.into()), &["policy"]);
}
