//! Executables that are not to start again: how many, for how long, and what is known of those that an earlier run denied.

use watertight_policy::{Owner, Rule};

use super::word::{Denied, Word};
use crate::guard::Shown;
use crate::output::boot_ns_now;

/// Most executables that are denied at once. An attack brings a few; a wrong rule does not fill the kernel's table.
const DENIED_MAX: usize = 64;
/// How long each is denied: until somebody has looked at the alert, and put into a policy what is to stay.
const LIFETIME_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The deny rules, each with what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    rules: Vec<Rule>,
    denied: Vec<Denied>,
}

impl Next {
    /// Those that the kernel has, with what the run before has left about them. One that nobody knows begins anew.
    #[must_use]
    pub fn of(shown: &Shown, before: Option<&Word>) -> Self {
        let mut next = Self::default();
        for shown in shown.rules.iter().filter(|rule| Owner::of(&rule.id) == Owner::Next) {
            let rule = super::rule_of(Owner::Next, shown);
            let known = before.iter().flat_map(|word| &word.next).find(|denied| denied.id == rule.id);
            let until_boot_ns = boot_ns_now().saturating_add(LIFETIME_NS);
            let path = rule.target.to_string();
            let unknown = || Denied { id: rule.id.clone(), path, rule: "of an earlier run".to_owned(), until_boot_ns };
            next.denied.push(known.cloned().unwrap_or_else(unknown));
            next.rules.push(rule);
        }
        next
    }

    /// The deny rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What is known of them.
    #[must_use]
    pub fn denied(&self) -> &[Denied] {
        &self.denied
    }

    /// Adds one, or lets it live longer.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, deny: Rule, path: String, rule: String) -> Result<(), String> {
        let until_boot_ns = boot_ns_now().saturating_add(LIFETIME_NS);
        if let Some(denied) = self.denied.iter_mut().find(|denied| denied.id == deny.id) {
            denied.until_boot_ns = until_boot_ns;
            return Ok(());
        }
        if self.rules.len() >= DENIED_MAX {
            return Err(format!("{DENIED_MAX} executables are denied already: `policy show` lists them"));
        }
        self.denied.push(Denied { id: deny.id.clone(), path, rule, until_boot_ns });
        self.rules.push(deny);
        Ok(())
    }

    /// Takes these away.
    pub fn remove(&mut self, is_gone: impl Fn(&Denied) -> bool) {
        self.denied.retain(|denied| !is_gone(denied));
        let Self { rules, denied } = self;
        rules.retain(|rule| denied.iter().any(|denied| denied.id == rule.id));
    }

    /// Whether the time of one is over.
    #[must_use]
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.denied.iter().any(|denied| denied.until_boot_ns <= now_ns)
    }
}

#[cfg(test)]
mod tests {
    use watertight_policy::{Action, Mode, Operation, Target};

    use super::*;

    fn rule(at: usize) -> Rule {
        let (on, target) = (vec![Operation::Exec], Target::File(format!("/tmp/{at}").into()));
        Rule { id: format!("x-{at}"), action: Action::Deny, on, target, mode: Mode::Enforce }
    }

    #[test]
    fn so_many_are_denied_and_no_more_until_the_time_of_one_is_over() {
        let mut next = Next::default();
        for at in 0..DENIED_MAX {
            assert_eq!(next.add(rule(at), "p".into(), "r".into()), Ok(()), "{at}");
        }
        assert!(next.add(rule(DENIED_MAX), "p".into(), "r".into()).is_err());
        assert_eq!(next.add(rule(0), "p".into(), "r".into()), Ok(()), "one that is denied lives longer");
        assert_eq!(next.rules().len(), DENIED_MAX);
        let now = boot_ns_now();
        assert!(!next.is_due(now));
        let later = now.saturating_add(LIFETIME_NS).saturating_add(LIFETIME_NS);
        assert!(next.is_due(later));
        next.remove(|denied| denied.until_boot_ns <= later);
        assert_eq!(next, Next::default());
    }

    #[test]
    fn the_time_of_what_an_earlier_run_denied_goes_on() {
        let json = r#"{"state":"confirmed","generation":3,"rules":[
            {"id":"next:x-1","on":["exec"],"mode":"enforce","match":{"file":"/tmp/1"}},
            {"id":"next:x-2","on":["exec"],"mode":"enforce","match":{"file":"/tmp/2"}}]}"#;
        let shown: Shown = serde_json::from_str(json).expect("the loader's form");
        let known = Denied { id: "x-1".into(), path: "/tmp/1".into(), rule: "r".into(), until_boot_ns: 5 };
        let word = Word { next: vec![known.clone()], ..Word::default() };
        let next = Next::of(&shown, Some(&word));
        assert_eq!((next.rules().len(), next.denied().first()), (2, Some(&known)));
        assert!(next.denied().get(1).is_some_and(|unknown| unknown.until_boot_ns > boot_ns_now()));
    }
}
