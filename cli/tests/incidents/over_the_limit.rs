//! A file of features that doubled beyond what its reader had room for: more deny rules than a policy may have, and more questions
//! than an event may cost. Over the limit is an error or a count, and what was in force stays.

use std::fmt::Write as _;

use serde_json::json;
use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_content_pack::layout::{PolicyRecord, PolicyRuleRecord, Section};
use watertight_engine::{Image, LogSource, Scratch, QUESTIONS_MAX};
use watertight_policy::{Action, Mode, Operation, Policy, Rule, Target, RULES_MAX, VERSION};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::place::{Desk, Host};
use super::raw::{good_pack, rule, with};

fn policy(rules: usize) -> Policy {
    let rule = |at: usize| Rule {
        id: format!("r{at}"),
        action: Action::Deny,
        on: vec![Operation::Exec],
        target: Target::File(format!("/opt/tools/{at}").into()),
        mode: Mode::Enforce,
    };
    Policy { version: VERSION, fallback_deny: false, rules: (0..rules).map(rule).collect() }
}

/// A pack with one deny rule more than there may be, which no writer of ours makes.
fn one_more() -> Vec<u8> {
    with(&good_pack(Some(&policy(RULES_MAX))), Section::Policy, |bytes| {
        let first = size_of::<PolicyRecord>();
        let last = first + RULES_MAX * size_of::<PolicyRuleRecord>();
        let copy = bytes[first..first + size_of::<PolicyRuleRecord>()].to_vec();
        bytes.splice(last..last, copy);
        let (head, _) = PolicyRecord::mut_from_prefix(bytes.as_mut_bytes()).expect("a policy");
        head.rules = (u32::try_from(RULES_MAX).expect("few") + 1).into();
    })
}

#[test]
fn the_compiler_alone_refuses_it_and_leaves_the_pack_that_is_there() {
    let desk = Desk::new(&rule("Image|endswith: /museum"), "{Image: /museum}");
    assert_eq!(desk.build().code, Some(0));
    let before = std::fs::read(desk.pack()).expect("a pack");
    let mut text = format!("version: {VERSION}\nrules:\n");
    for rule in 0..=RULES_MAX {
        writeln!(
            text,
            "  - {{ id: r{rule}, action: deny, on: exec, match: {{ file: /opt/tools/{rule} }}, mode: enforce }}"
        )
        .expect("memory");
    }
    desk.write("policy.yml", &text);
    let said = desk.build();
    assert!(said.code == Some(1) && said.words.contains("4096") | said.words.contains("4,096"), "{}", said.words);
    assert_eq!(std::fs::read(desk.pack()).expect("a pack"), before, "the pack that is there stays");
}

#[test]
fn the_hosts_loader_alone_refuses_it_and_what_is_in_force_stays() {
    let host = Host::new();
    assert_eq!(host.install(&good_pack(Some(&policy(RULES_MAX)))).code, Some(0), "as many as there may be");
    host.refuses(&one_more(), &["4097 deny rules", "4096"]);
    assert_eq!(host.next(), "candidate");
}

#[test]
fn the_engines_budget_alone_gives_up_and_counts_and_the_other_rules_go_on() {
    // No automaton answers a comparison, each is asked by itself: twice as many as one event may have.
    let numbers: Vec<String> = (1..=2 * QUESTIONS_MAX).map(|number| number.to_string()).collect();
    let many = rule(&format!("ProcessId|gte: [{}]", numbers.join(", ")));
    let other = rule("Image|endswith: /museum").replace("2a99", "2a98");
    let mut library = load_texts([Source { file: "museum.yml", text: &format!("{many}---\n{other}") }]);
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
    let bytes = library.image().expect("it compiles");
    let image = Image::open(&bytes).expect("compiled here");
    let plan = image.plan(&LogSource { category: Some("process_creation"), product: Some("linux"), service: None });
    let event = json!({ "Image": "/museum", "ProcessId": 0 });
    let mut hits = Vec::new();
    let event = JsonEvent::new(&event, &Slots::of(&image));
    let limits = plan.evaluate(&event, &mut Scratch::new(), &mut |rule| hits.push(rule));
    let fired: Vec<&str> = hits.iter().filter_map(|at| Some(image.rule(*at)?.id())).collect();
    assert!(fired.len() == 1 && fired[0].ends_with("2a98"), "{fired:?}");
    assert_eq!(limits.undecided_rules, 1, "given up, and counted");
}
