//! What each rule costs, counted instead of timed: the same events give the same numbers on every machine.
//!
//! Only a `Scratch` that was made for it counts. What an answer costs is charged to the rule that asks first; the others have it
//! for nothing. The one search of each field that announces rules is no rule's cost.

/// What a rule has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Events on which its condition was evaluated: something had announced it.
    pub evaluations: u64,
    /// Questions that it was the first to ask.
    pub questions: u64,
    /// What they cost: bytes looked at, and what other work is weighed as.
    pub work: u64,
    /// Events on which it was true.
    pub hits: u64,
    /// Events on which it was given up, because finding out would have cost too much.
    pub undecided: u64,
}

/// What the rules of an image have cost.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    rules: Vec<Cost>,
    /// Questions of the rule at hand.
    pub(crate) questions: u64,
}

impl Tally {
    /// What each rule has cost so far, by its position; rules behind the last were never evaluated.
    #[must_use]
    pub fn costs(&self) -> &[Cost] {
        &self.rules
    }

    /// Charges a rule for one evaluation.
    pub(crate) fn charge(&mut self, rule: u32, work: u64, outcome: Option<bool>) {
        let questions = std::mem::take(&mut self.questions);
        let Ok(at) = usize::try_from(rule) else { return };
        if self.rules.len() <= at {
            self.rules.resize(at.saturating_add(1), Cost::default());
        }
        let Some(cost) = self.rules.get_mut(at) else { return };
        cost.evaluations = cost.evaluations.saturating_add(1);
        cost.questions = cost.questions.saturating_add(questions);
        cost.work = cost.work.saturating_add(work);
        cost.hits = cost.hits.saturating_add(u64::from(outcome == Some(true)));
        cost.undecided = cost.undecided.saturating_add(u64::from(outcome.is_none()));
    }
}
