//! What a rule demands beside an alert: `action: kill` or `deny_next`, and `mode: audit` or `enforce`.
//!
//! Attributes of a rule's own, as Sigma allows them. Audit is the default: a rule that is new says what it would have done.

use watertight_engine::{Action, Response};

use super::document::wrong_type;
use super::reason::did_you_mean;
use super::rejection::{At, Reason};
use super::yaml::Node;

/// Modes as rules write them.
const MODES: [&str; 2] = ["audit", "enforce"];

/// Whether this `action` is one of old Sigma's, which joined documents.
pub(super) fn is_of_old_sigma(node: &Node) -> bool {
    node.text().is_some_and(|text| ["global", "reset", "repeat"].contains(&text))
}

/// The response of a rule; an alert where it says nothing.
pub(super) fn read(document: &Node) -> Result<Response, At> {
    let action = match document.get("action") {
        None => Action::Alert,
        Some(node) => {
            let text = node.text().ok_or_else(|| wrong_type("action", "text", node))?;
            let known = Action::ALL.map(Action::name);
            Action::ALL.into_iter().find(|action| action.name() == text).ok_or_else(|| {
                let mend = did_you_mean(text, known, format!("use {}", known.join(", ")));
                node.at(Reason::UnknownAction { action: text.to_owned(), mend })
            })?
        }
    };
    let Some(node) = document.get("mode") else { return Ok(Response { action, is_enforced: false }) };
    let text = node.text().ok_or_else(|| wrong_type("mode", "text", node))?;
    if !MODES.contains(&text) {
        let mend = did_you_mean(text, MODES, format!("use {}", MODES.join(" or ")));
        return Err(node.at(Reason::UnknownMode { mode: text.to_owned(), mend }));
    }
    if action == Action::Alert {
        return Err(node.at(Reason::ModeWithoutAction {}));
    }
    Ok(Response { action, is_enforced: text == "enforce" })
}
