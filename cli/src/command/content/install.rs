//! `watertight content install PACK`: a pack onto this machine, on trial. It is taken by the same loader, in the same sandbox, as when it
//! comes into force, so what is refused is refused here. A run that is at work goes over to it between two events.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use watertight_host::loading::{load_pack, Content, LoadError};
use watertight_host::lock::RunLock;
use watertight_host::slots::{ContentId, Event, Refusal, Slots, SlotsError, PACK_SIZE_BYTES_MAX};
use watertight_host::supervisor::factory;

use super::{answer, read_file, Form, CONFLICT, FORBIDDEN, OK};
use crate::command::run::{slots_of, state_of};

/// Put a pack on trial on this machine.
#[derive(Debug, clap::Args)]
pub struct InstallArgs {
    /// The pack.
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    /// State folder of the run, if it was given one.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// `text` for people or `json`.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Exit code 0 if it is on trial now or was there already (a slot of its id that holds other bytes gets its own back), 5 if the loader refuses it or does not survive it, 6 if it is in quarantine:
/// that is found out before it is loaded.
///
/// # Errors
/// The file can't be read, or the slots can't be written.
pub fn run(args: &InstallArgs) -> anyhow::Result<u8> {
    let InstallArgs { pack, state, output } = args;
    let bytes = read_file(pack, PACK_SIZE_BYTES_MAX)?;
    let mut slots = Slots::make(&slots_of(state.as_deref()), factory())?;
    let id = ContentId::of(&bytes);
    if slots.state()?.quarantined.contains(&id) {
        watertight_host::say!("watertight: {}", Refusal::Quarantined { id });
        return Ok(CONFLICT);
    }
    let header = match load_pack(&bytes, id) {
        Ok(Content { header, .. }) => header,
        Err(LoadError::Refused(why)) => {
            watertight_host::say!("watertight: {}: {why}: it is not installed", pack.display());
            return Ok(FORBIDDEN);
        }
        Err(LoadError::Fatal(why)) => {
            slots.after(Event::Fatal(id, &why))?;
            let pack = pack.display();
            watertight_host::say!("watertight: {pack}: {why}: it is not installed, and put into quarantine ({id})");
            return Ok(FORBIDDEN);
        }
        Err(error) => return Err(error).with_context(|| pack.display().to_string()),
    };
    let is_mended = slots.mend(&bytes)?;
    let (is_new, code) = match slots.after(Event::Installed { version: header.version, bytes: &bytes }) {
        Ok(_) => (true, OK),
        Err(SlotsError::Refused(refusal @ Refusal::There { .. })) => {
            watertight_host::say!("watertight: {refusal}");
            (false, OK)
        }
        Err(SlotsError::Refused(refusal)) => {
            watertight_host::say!("watertight: {refusal}");
            return Ok(CONFLICT);
        }
        Err(error) => return Err(error.into()),
    };
    let run = RunLock::holder(&state_of(state.as_deref()));
    let who = match (is_new, run) {
        (false, _) if is_mended => "its file was damaged and is replaced".to_owned(),
        (false, _) => "nothing changes".to_owned(),
        (true, Some(pid)) => format!("process {pid} goes over to it; `watertight status` tells how it fares"),
        (true, None) => "no run is at work: the next one tries it".to_owned(),
    };
    let (name, version, rules) = (&header.name, header.version, header.rule_count);
    let mut text = format!("{name} version {version}, {rules} rules, {} canaries ({id}): {who}\n", header.canaries);
    if header.is_urgent {
        // Installed by hand, this is the word of whoever installs it: nobody else signed for it.
        let denies = header.policy.as_ref().map_or(0, |policy| policy.rules.len());
        text.push_str(&format!(
            "URGENT: its {denies} deny rules, and the actions of its rules that the run allows, are in force at once, without a trial in \
             which they only count\n"
        ));
    }
    let line = json!({
        "id": id.to_string(), "name": name, "version": version, "rules": rules, "canaries": header.canaries,
        "is_urgent": header.is_urgent,
        "installed": is_new, "mended": is_mended, "run": run,
    });
    answer(*output, &line, &text)?;
    Ok(code)
}
