//! What one event may cost, whatever is in it: content may lower the engine's limits and never raise them.

use super::check::PROGRAM_STEPS_MAX;
use super::layout::BudgetRecord;
use crate::scratch::{FIELD_BYTES_MAX, QUESTIONS_MAX, WORK_BYTES_MAX};

/// What one event may cost. Beyond that rules are given up, which is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Questions that are asked one by one.
    pub questions_max: u32,
    /// What is read of all values of one field.
    pub field_bytes_max: usize,
    /// What questions may look at.
    pub work_bytes_max: u64,
    /// Steps of an expression that is not deterministic.
    pub program_steps_max: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            questions_max: QUESTIONS_MAX,
            field_bytes_max: FIELD_BYTES_MAX,
            work_bytes_max: WORK_BYTES_MAX,
            program_steps_max: PROGRAM_STEPS_MAX,
        }
    }
}

impl Budget {
    /// As an image writes it.
    #[must_use]
    pub fn record(self) -> BudgetRecord {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        BudgetRecord {
            questions_max: self.questions_max.into(),
            field_bytes_max: narrow(self.field_bytes_max as u64).into(),
            work_bytes_max: narrow(self.work_bytes_max).into(),
            program_steps_max: self.program_steps_max.into(),
        }
    }

    /// `None` where it is none, or more than the engine allows.
    pub(super) fn of(record: &BudgetRecord) -> Option<Self> {
        let most = Self::default();
        let budget = Self {
            questions_max: record.questions_max.get(),
            field_bytes_max: usize::try_from(record.field_bytes_max.get()).ok()?,
            work_bytes_max: record.work_bytes_max.get().into(),
            program_steps_max: record.program_steps_max.get(),
        };
        let fits = budget.questions_max <= most.questions_max
            && budget.field_bytes_max <= most.field_bytes_max
            && budget.work_bytes_max <= most.work_bytes_max
            && budget.program_steps_max <= most.program_steps_max;
        let is_some = budget.questions_max > 0 && budget.field_bytes_max > 0 && budget.work_bytes_max > 0;
        (fits && is_some).then_some(budget)
    }
}
