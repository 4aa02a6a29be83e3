//! A false positive on a file of the system: a deny rule that matches init, the shell or the package manager.
//!
//! What comes after the two layers here is the loader, which judges by identity on the machine itself: `sensor/loader/tests/incidents.rs`,
//! and `guard.vital` in the guests.

use watertight_policy::{Action, Mode, Operation, Policy, Rule, Target, VERSION};

use super::place::{Desk, Host};
use super::raw::{good_pack, rule};

/// What a pack that denies this is told, and the words.
const VITAL: [(&str, &str); 4] = [
    ("exec, match: { file: /sbin/init }", "/sbin/init"),
    ("exec, match: { file: /usr/bin/dpkg }", "/usr/bin/dpkg"),
    ("exec, match: { under: /usr }", "/usr"),
    ("write, match: { under: /var/lib/dpkg }", "/var/lib/dpkg"),
];

#[test]
fn the_compiler_alone_refuses_it_by_its_rule_and_what_it_would_stop() {
    for (denied, told) in VITAL {
        let desk = Desk::new(&rule("Image|endswith: /museum"), "{Image: /museum}");
        let policy = format!("version: 1\nrules:\n  - {{ id: too-much, action: deny, on: {denied}, mode: enforce }}\n");
        desk.write("policy.yml", &policy);
        desk.refuses(&["policy.yml:3:", "rule too-much: this would stop", "= mend: take the rule out", told]);
        desk.write("policy.yml", &policy.replace("enforce", "audit"));
        assert_eq!(desk.build().code, Some(0), "what only counts stops nothing");
    }
}

#[test]
fn a_rule_of_detection_alone_only_tells_whatever_it_matches() {
    // It fires on every start of init and the package manager; no byte of a pack makes an alert into an act by itself.
    let desk = Desk::new(&rule("Image|endswith: [/init, /systemd, /dpkg, /sh]"), "{Image: /usr/bin/dpkg}");
    assert_eq!(desk.build().code, Some(0));
    let pack = std::fs::read(desk.pack()).expect("a pack");
    let opened = watertight_content_pack::Pack::open(&pack).expect("built here");
    assert!(opened.policy().is_none() && opened.rules().rules().all(|rule| !rule.response().is_enforced));
    assert_eq!(Host::new().install(&pack).code, Some(0));
}

#[test]
fn what_goes_past_the_compiler_still_has_the_loader_before_it() {
    let target = Target::File("/sbin/init".into());
    let (action, on, mode) = (Action::Deny, vec![Operation::Exec], Mode::Enforce);
    let rule = Rule { id: "too-much".to_owned(), action, on, target, mode };
    let policy = Policy { version: VERSION, fallback_deny: false, rules: vec![rule] };
    let pack = good_pack(Some(&policy));
    let opened = watertight_content_pack::Pack::open(&pack).expect("the pack writer takes it");
    // What the loader is handed is this, and nothing else of the pack.
    assert_eq!(opened.policy(), Some(&policy));
}
