//! What becomes of an action that a rule demands, as far as the detector goes: it asks the supervisor where the owner of the machine
//! allows the action, and the alert says so.

use watertight_engine::{Action, Response, Rule};
use watertight_event::{Event, Field};

use crate::actions::request::{Asker, Demand, Request};

/// The words for an action that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The rule is in audit.
    Audit,
    /// The owner of the machine does not allow it.
    NotAllowed,
    /// The event does not say which process it is about.
    NoProcess,
    /// Too many requests wait.
    NoRoom,
    /// It was asked for; what becomes of it is an event of its own.
    Asked,
}

/// Who can be asked for what.
#[derive(Default)]
pub struct Asks {
    /// Names of the actions that are allowed.
    allowed: Vec<String>,
    asker: Option<Asker>,
    /// The content in force, as the shared page calls it.
    content: u64,
}

impl Asks {
    /// For these actions, by this socket.
    #[must_use]
    pub fn new(allowed: Vec<String>, asker: Option<Asker>, content: u64) -> Self {
        Self { allowed, asker, content }
    }

    /// Other content is in force.
    pub fn go_over_to(&mut self, content: u64) {
        self.content = content;
    }

    /// Asks for what the rule demands; `None` if that is nothing.
    pub(crate) fn ask(&self, event: &Event, rule: Rule<'_>) -> Option<Answer> {
        let Response { action, is_enforced } = rule.response();
        let demand = Demand::of(action)?;
        if !is_enforced {
            return Some(Answer::Audit);
        }
        let Some(asker) = self.asker.as_ref().filter(|_| self.allowed.iter().any(|name| name == demand.name())) else {
            return Some(Answer::NotAllowed);
        };
        let number = |field| event.number(field).unwrap_or(0);
        let pid = event.number(Field::Pid).and_then(|pid| u32::try_from(pid).ok());
        let (Some(pid), Some(start_ns)) = (pid, event.number(Field::StartNs)) else { return Some(Answer::NoProcess) };
        let request = Request {
            content: self.content,
            rule: rule.id().to_owned(),
            action: demand,
            pid,
            start_ns,
            executable: event.text(Field::Executable).map(|path| path.to_string()).unwrap_or_default(),
            dev: number(Field::ExecutableDev),
            inode: number(Field::ExecutableInode),
        };
        Some(if asker.ask(&request) { Answer::Asked } else { Answer::NoRoom })
    }
}

impl Answer {
    /// For the alert.
    pub(crate) fn words(self, action: Action) -> String {
        let what = match action {
            Action::Kill => "kill",
            Action::Alert | Action::DenyNext => "deny the next start",
        };
        match self {
            Self::Audit => format!("would {what}"),
            Self::NotAllowed => {
                format!("would {what} (not enforced: the run is without --enforce-actions {})", action.name())
            }
            Self::NoProcess => format!("would {what} (the event does not tell when its process began)"),
            Self::NoRoom => format!("would {what} (could not be asked for: too many requests wait)"),
            Self::Asked => format!("{what}: asked for, response.action tells what became of it"),
        }
    }
}
