//! Deny rules that the agent put in force, beside those of the machine's owner: of the content pack that is trusted, of one that is
//! on trial, and of executables that are not to start again.
//!
//! The kernel has one table for all of them. Each set has a prefix before its ids, which no id in a file can have, so that rules of
//! two sets are never taken for each other; whoever publishes one set leaves the others as they are.

use serde::{Deserialize, Serialize};

use crate::{Policy, PolicyError, Rule, ID_CHARACTERS_MAX, VERSION};

/// Longest id of a rule in a content pack: the longest prefix stands before it where the kernel keeps it.
pub const PACK_ID_CHARACTERS_MAX: usize = ID_CHARACTERS_MAX - "trial:".len();

/// Whose a rule in the kernel's table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Applied from a file by whoever owns the machine.
    #[default]
    Administrator,
    /// Of the content pack in force.
    Pack,
    /// Of a content pack on trial: it only counts.
    Trial,
    /// An executable that a rule of the content does not want to be started again.
    Next,
}

impl Owner {
    /// Those whose rules the agent publishes.
    pub const OF_AGENT: [Self; 3] = [Self::Pack, Self::Trial, Self::Next];

    /// What stands before the ids of its rules.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Administrator => "",
            Self::Pack => "pack:",
            Self::Trial => "trial:",
            Self::Next => "next:",
        }
    }

    /// Whose a rule with this id is.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let of_agent = Self::OF_AGENT.into_iter().find(|owner| id.starts_with(owner.prefix()));
        of_agent.unwrap_or_default()
    }

    /// The id without the prefix.
    #[must_use]
    pub fn bare(self, id: &str) -> &str {
        id.strip_prefix(self.prefix()).unwrap_or(id)
    }
}

/// All rules of the agent: what is to be in force, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// Of the pack in force.
    pub pack: Vec<Rule>,
    /// Of the pack on trial.
    pub trial: Vec<Rule>,
    /// Executables that are not to start again.
    pub next: Vec<Rule>,
}

impl Owned {
    /// Whether each set is a policy, with ids that leave room for the prefix.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        for (_, rules) in self.sets() {
            if let Some(at) = rules.iter().position(|rule| rule.id.len() > PACK_ID_CHARACTERS_MAX) {
                return Err(PolicyError::LongId { position: at.saturating_add(1) });
            }
            Policy { version: VERSION, fallback_deny: false, rules: rules.clone() }.check()?;
        }
        Ok(())
    }

    /// Every rule with its id as the kernel has it.
    #[must_use]
    pub fn labelled(&self) -> Vec<Rule> {
        let labelled = |(owner, rules): (Owner, &Vec<Rule>)| -> Vec<Rule> {
            let of = |rule: &Rule| Rule { id: format!("{}{}", owner.prefix(), rule.id), ..rule.clone() };
            rules.iter().map(of).collect()
        };
        self.sets().into_iter().flat_map(labelled).collect()
    }

    fn sets(&self) -> [(Owner, &Vec<Rule>); 3] {
        [(Owner::Pack, &self.pack), (Owner::Trial, &self.trial), (Owner::Next, &self.next)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Mode, Operation, Target};

    fn rule(id: &str) -> Rule {
        let (on, target) = (vec![Operation::Exec], Target::File("/opt/x".into()));
        Rule { id: id.to_owned(), action: Action::Deny, on, target, mode: Mode::Audit }
    }

    #[test]
    fn rules_of_two_owners_with_one_id_are_two_rules() {
        let owned = Owned { pack: vec![rule("a")], trial: vec![rule("a")], next: vec![rule("a")] };
        assert_eq!(owned.check(), Ok(()));
        let ids: Vec<String> = owned.labelled().into_iter().map(|rule| rule.id).collect();
        assert_eq!(ids, ["pack:a", "trial:a", "next:a"]);
        for (id, owner) in ids.iter().zip(Owner::OF_AGENT) {
            assert_eq!((Owner::of(id), owner.bare(id)), (owner, "a"));
        }
        assert_eq!(Owner::of("pack-a"), Owner::Administrator);
    }

    #[test]
    fn an_id_that_would_be_cut_behind_its_prefix_is_refused() {
        let owned = |length: usize| Owned { trial: vec![rule(&"x".repeat(length))], ..Owned::default() };
        assert_eq!(owned(PACK_ID_CHARACTERS_MAX).check(), Ok(()));
        assert!(owned(PACK_ID_CHARACTERS_MAX).labelled().iter().all(|rule| rule.id.len() <= ID_CHARACTERS_MAX));
        assert_eq!(owned(PACK_ID_CHARACTERS_MAX + 1).check(), Err(PolicyError::LongId { position: 1 }));
    }

    #[test]
    fn an_id_with_a_prefix_of_another_owner_is_refused() {
        let owned = Owned { next: vec![rule("pack:a")], ..Owned::default() };
        assert_eq!(owned.check(), Err(PolicyError::Id { position: 1 }));
    }
}
