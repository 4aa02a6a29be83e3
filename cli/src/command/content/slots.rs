//! `watertight content slots` and `forget`: which content this machine has, what is in quarantine and why, and how to let it be tried
//! again.

use std::path::PathBuf;

use serde_json::json;
use watertight_host::printable::printable_lines;
use watertight_host::slots::{ContentId, Event, Overview, Refusal, Slots, SlotsError};
use watertight_host::supervisor::factory;

use super::{answer, Form, NOT_FOUND, OK, PARTIAL};
use crate::command::run::slots_of;

/// Say what is in the slots of this machine.
#[derive(Debug, clap::Args)]
pub struct SlotsArgs {
    /// State folder of the run, if it was given one.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// `text` for people or `json`.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Let content that is in quarantine be tried again.
#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// Its id, as `watertight content slots` prints it.
    #[arg(value_name = "ID")]
    id: ContentId,
    /// State folder of the run, if it was given one.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// `text` for people or `json`.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Exit code 0, or 3 if something is in quarantine or no rules are in force.
///
/// # Errors
/// Nobody takes the answer.
pub fn show(args: &SlotsArgs) -> anyhow::Result<u8> {
    let overview = Overview::of(&Slots::at(&slots_of(args.state.as_deref()), factory()));
    answer(args.output, &overview, &printable_lines(&overview.to_text()))?;
    Ok(if overview.is_sound() { OK } else { PARTIAL })
}

/// Exit code 0, or 4 if it is not in quarantine.
///
/// # Errors
/// The slots can't be written.
pub fn forget(args: &ForgetArgs) -> anyhow::Result<u8> {
    let ForgetArgs { id, state, output } = args;
    let mut slots = Slots::make(&slots_of(state.as_deref()), factory())?;
    match slots.after(Event::Forgotten(*id)) {
        Ok(_) => {}
        Err(SlotsError::Refused(refusal @ Refusal::NotQuarantined { .. })) => {
            watertight_host::say!("watertight: {refusal}");
            return Ok(NOT_FOUND);
        }
        Err(error) => return Err(error.into()),
    }
    let line = json!({ "forgotten": id.to_string() });
    answer(
        *output,
        &line,
        &format!("{id} may be tried again: install it, or start the run again if it is the factory's\n"),
    )?;
    Ok(OK)
}
