//! A rule's condition over predicates: which of them announce the rule, and the code that asks the rest.
//!
//! A rule is looked at when something was found that it can't fire without. The less likely that is, the fewer events the rule costs
//! anything. How likely a text is nobody knows here; what many rules ask for is common where rules are of use, and short texts are
//! everywhere.

use std::cmp::Reverse;

use watertight_engine::image::layout::{CodeRecord, PLACE_WHOLE};

use super::tables::Tables;

/// A text and where in a value it must stand.
pub(super) type Literal = (u32, Vec<u8>);

/// How often in a million events something is likely to be true. Only their order matters.
pub(super) type Likelihood = u32;

/// Always.
pub(super) const CERTAIN: Likelihood = 1_000_000;

/// How likely texts are by their size in bytes, from one byte on; longer ones are as likely as the last.
const BY_SIZE: [Likelihood; 12] =
    [900_000, 500_000, 250_000, 100_000, 50_000, 25_000, 20_000, 15_000, 10_000, 8_000, 6_000, 5_000];

/// Of fewer uses nothing can be told about what is common.
const USES_MIN: usize = 16;

/// A condition over predicates.
pub(super) enum Hot {
    All(Vec<Hot>),
    Any(Vec<Hot>),
    Not(Box<Hot>),
    Is(u32),
}

/// What is known of a predicate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// What must be found for it to be true: itself if it is found, else what it needs.
    pub(super) needs: Option<u32>,
    /// How much asking costs: 0 if it is found.
    pub(super) cost: u32,
    pub(super) likelihood: Likelihood,
}

/// How likely a literal is that is used so often, of so many uses of such literals.
pub(super) fn likelihood((place, text): &Literal, uses: usize, of: usize) -> Likelihood {
    let by_size = match *place {
        PLACE_WHOLE => BY_SIZE[BY_SIZE.len() - 1],
        _ => BY_SIZE[text.len().clamp(1, BY_SIZE.len()) - 1],
    };
    let by_use = (uses as u64).saturating_mul(CERTAIN.into()) / (of.max(USES_MIN) as u64);
    by_size.saturating_add(u32::try_from(by_use).unwrap_or(CERTAIN)).min(CERTAIN)
}

/// What is known of each predicate of a group, by its number.
pub(super) struct Predicates {
    pub(super) first: u32,
    pub(super) known: Vec<Known>,
}

impl Predicates {
    fn of(&self, number: u32) -> Known {
        self.known[(number - self.first) as usize]
    }

    /// Predicates of which one is found in every event that the condition is true of: the least likely such set.
    pub(super) fn announcing(&self, hot: &Hot) -> Option<Vec<u32>> {
        match hot {
            Hot::All(parts) => {
                let sets = parts.iter().filter_map(|part| self.announcing(part));
                sets.min_by_key(|set| (self.sum(set), set.len()))
            }
            Hot::Any(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.announcing(part)?);
                }
                all.sort_unstable();
                all.dedup();
                (!all.is_empty()).then_some(all)
            }
            Hot::Not(_) => None,
            Hot::Is(number) => Some(vec![self.of(*number).needs?]),
        }
    }

    fn sum(&self, set: &[u32]) -> Likelihood {
        let likelihoods = set.iter().map(|number| self.of(*number).likelihood);
        likelihoods.fold(0, u32::saturating_add).min(CERTAIN)
    }

    /// Puts what is cheap before what is not, and what decides more often before what decides less.
    pub(super) fn order(&self, hot: &mut Hot) {
        match hot {
            Hot::All(parts) => {
                parts.iter_mut().for_each(|part| self.order(part));
                parts.sort_by_cached_key(|part| (self.cost(part), self.likelihood(part)));
            }
            Hot::Any(parts) => {
                parts.iter_mut().for_each(|part| self.order(part));
                parts.sort_by_cached_key(|part| (self.cost(part), Reverse(self.likelihood(part))));
            }
            Hot::Not(part) => self.order(part),
            Hot::Is(_) => {}
        }
    }

    fn cost(&self, hot: &Hot) -> u32 {
        match hot {
            Hot::All(parts) | Hot::Any(parts) => parts.iter().map(|part| self.cost(part)).fold(1, u32::saturating_add),
            Hot::Not(part) => self.cost(part),
            Hot::Is(number) => self.of(*number).cost,
        }
    }

    fn likelihood(&self, hot: &Hot) -> Likelihood {
        match hot {
            Hot::All(parts) => parts.iter().map(|part| self.likelihood(part)).min().unwrap_or(CERTAIN),
            Hot::Any(parts) => {
                let likelihoods = parts.iter().map(|part| self.likelihood(part));
                likelihoods.fold(0, u32::saturating_add).min(CERTAIN)
            }
            Hot::Not(part) => CERTAIN.saturating_sub(self.likelihood(part)),
            Hot::Is(number) => self.of(*number).likelihood,
        }
    }
}

impl Hot {
    /// The condition's code, which goes on at one of two places; where it begins. What it goes on to is laid out before it. `found` is a
    /// predicate that is known to be true when the code is run, because it alone announces the rule.
    pub(super) fn code(&self, tables: &mut Tables, found: Option<u32>, if_true: u32, if_false: u32) -> u32 {
        match self {
            Self::All(parts) => parts.iter().rev().fold(if_true, |then, part| part.code(tables, found, then, if_false)),
            Self::Any(parts) => {
                parts.iter().rev().fold(if_false, |or_else, part| part.code(tables, found, if_true, or_else))
            }
            Self::Not(part) => part.code(tables, found, if_false, if_true),
            Self::Is(predicate) if Some(*predicate) == found => if_true,
            Self::Is(predicate) => {
                let number = tables.code.len() as u32;
                tables.code.push(CodeRecord {
                    predicate: (*predicate).into(),
                    if_true: if_true.into(),
                    if_false: if_false.into(),
                });
                number
            }
        }
    }
}
