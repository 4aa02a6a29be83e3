//! What was recalled is kept out of the slots of this host, also what never was in one.

use watertight_content_repo::release::ContentId;
use watertight_host::slots::{Event, Slots, SlotsError};
use watertight_host::supervisor::factory;

use super::FetchArgs;
use crate::command::run::slots_of;

/// All of it is in quarantine afterwards; gives what was in a slot. A run that is at work goes over to the step below.
///
/// Who only fetches, and has no slots, gets none.
///
/// # Errors
/// The slots can't be read or written.
pub(super) fn keep_out(args: &FetchArgs, recalled: &[ContentId]) -> Result<Vec<ContentId>, SlotsError> {
    let folder = slots_of(args.recall_in.as_deref());
    let is_host = args.recall_in.is_some() || args.host.is_some() || folder.is_dir();
    if recalled.is_empty() || !is_host {
        return Ok(Vec::new());
    }
    let mut slots = Slots::make(&folder, factory())?;
    let mut state = slots.state()?;
    let mut taken_out = Vec::new();
    for content in recalled {
        let Ok(id) = content.to_string().parse() else { continue }; // the same digest by another name
        let is_held = state.candidates.iter().chain(&state.goods).any(|held| held.id == id);
        if is_held || !state.quarantined.contains(&id) {
            state = slots.after(Event::Recalled(id))?;
        }
        if is_held {
            taken_out.push(*content);
        }
    }
    Ok(taken_out)
}
