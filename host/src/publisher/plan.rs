//! Which deny rules of the content are to be in force, and how: the plan, without anything being done.
//!
//! A rule that has not been in force before only counts while its pack is on trial, beside the rules that have proved themselves:
//! those stay until the trial has ended well, so that no pack lowers what is denied before it is trusted. Content that brings no
//! policy of its own, which the ladder goes down to, leaves them as they are.

use watertight_policy::{Mode, Rule};

/// How far content is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It says nothing about what is denied: rules of this run alone, the executable's own, none.
    #[default]
    Silent,
    /// On trial: what is new in it only counts.
    Trial,
    /// On trial, and signed as urgent: it is in force whole.
    Urgent,
    /// It has lived through its trial.
    Trusted,
}

/// Rules that deny, and rules that only count until their pack is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In force as they are declared.
    pub pack: Vec<Rule>,
    /// In audit.
    pub trial: Vec<Rule>,
}

impl Plan {
    /// For content of this standing with these rules, where those proved themselves before.
    #[must_use]
    pub fn of(standing: Standing, rules: &[Rule], proven: &[Rule]) -> Self {
        match standing {
            Standing::Silent => Self { pack: proven.to_vec(), trial: Vec::new() },
            Standing::Urgent | Standing::Trusted => Self { pack: rules.to_vec(), trial: Vec::new() },
            Standing::Trial => {
                let is_new = |rule: &&Rule| !proven.iter().any(|known| is_same(known, rule));
                let audited = |rule: &Rule| Rule { mode: Mode::Audit, ..rule.clone() };
                Self { pack: proven.to_vec(), trial: rules.iter().filter(is_new).map(audited).collect() }
            }
        }
    }
}

/// By id and content. One that was stricter before is the same: it stays so until the pack is trusted.
fn is_same(known: &Rule, rule: &Rule) -> bool {
    let is_as_strict = known.mode == Mode::Enforce || rule.mode == Mode::Audit;
    known.id == rule.id && known.target == rule.target && known.on == rule.on && is_as_strict
}

#[cfg(test)]
mod tests {
    use watertight_policy::{Action, Operation, Target};

    use super::*;

    fn rule(id: &str, path: &str, mode: Mode) -> Rule {
        let (on, target) = (vec![Operation::Exec], Target::File(path.into()));
        Rule { id: id.to_owned(), action: Action::Deny, on, target, mode }
    }

    #[test]
    fn a_new_deny_rule_only_counts_until_its_pack_is_trusted() {
        let old = rule("old", "/opt/old", Mode::Enforce);
        let new = rule("new", "/opt/new", Mode::Enforce);
        let proven = [old.clone()];
        let rules = [old.clone(), new.clone()];
        let plan = Plan::of(Standing::Trial, &rules, &proven);
        assert_eq!(plan, Plan { pack: vec![old], trial: vec![Rule { mode: Mode::Audit, ..new }] });
        let plan = Plan::of(Standing::Trusted, &rules, &proven);
        assert_eq!(plan, Plan { pack: rules.to_vec(), trial: Vec::new() });
    }

    #[test]
    fn an_old_id_with_new_content_is_a_new_rule_and_the_old_one_stays() {
        let proven = [rule("a", "/opt/old", Mode::Enforce)];
        for changed in [rule("a", "/opt/new", Mode::Enforce), rule("a", "/opt/new", Mode::Audit)] {
            let plan = Plan::of(Standing::Trial, std::slice::from_ref(&changed), &proven);
            assert_eq!(plan, Plan { pack: proven.to_vec(), trial: vec![Rule { mode: Mode::Audit, ..changed }] });
        }
        let counted = [rule("a", "/opt/old", Mode::Audit)];
        let plan = Plan::of(Standing::Trial, &proven, &counted);
        assert_eq!((plan.pack, plan.trial.len()), (counted.to_vec(), 1), "from audit to enforce is new");
    }

    #[test]
    fn a_pack_on_trial_takes_no_rule_away() {
        let proven = [rule("a", "/opt/a", Mode::Enforce)];
        let softer = [rule("a", "/opt/a", Mode::Audit)];
        for rules in [&[][..], &softer[..]] {
            assert_eq!(Plan::of(Standing::Trial, rules, &proven).pack, proven);
        }
        assert_eq!(Plan::of(Standing::Silent, &[], &proven).pack, proven, "nor does content that says nothing");
        assert_eq!(Plan::of(Standing::Trusted, &[], &proven), Plan::default(), "one that is trusted does");
    }

    #[test]
    fn an_urgent_pack_is_in_force_whole_at_once() {
        let rules = [rule("new", "/opt/new", Mode::Enforce)];
        assert_eq!(Plan::of(Standing::Urgent, &rules, &[]).pack, rules);
    }
}
