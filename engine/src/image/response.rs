//! What a rule demands beside an alert. The engine only says it; whoever runs it decides whether it may be done.

use super::layout::{ACTION_ALERT, ACTION_DENY_NEXT, ACTION_KILL, MODE_AUDIT, MODE_ENFORCE};

/// What is done when a rule fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is told.
    #[default]
    Alert,
    /// The process is killed, too.
    Kill,
    /// The executable is not started again, too.
    DenyNext,
}

impl Action {
    /// All.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Kill, Self::DenyNext];

    /// As rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Kill => "kill",
            Self::DenyNext => "deny_next",
        }
    }

    /// The number of an action in an image.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Alert => ACTION_ALERT,
            Self::Kill => ACTION_KILL,
            Self::DenyNext => ACTION_DENY_NEXT,
        }
    }
}

/// An action, and whether it is taken or only told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Response {
    /// What is done.
    pub action: Action,
    /// In audit mode it is only told what would be done.
    pub is_enforced: bool,
}

impl Response {
    /// Action and mode in an image.
    #[must_use]
    pub fn numbers(self) -> (u32, u32) {
        (self.action.number(), if self.is_enforced { MODE_ENFORCE } else { MODE_AUDIT })
    }

    pub(super) fn of_numbers(action: u32, mode: u32) -> Self {
        let action = Action::ALL.into_iter().find(|known| known.number() == action).unwrap_or_default();
        Self { action, is_enforced: mode == MODE_ENFORCE }
    }
}
