//! `watertight status`: what is in force on this machine now, read back from the kernel.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use watertight_host::lock::RunLock;
use watertight_host::printable::printable_lines;
use watertight_host::say::not_written;
use watertight_host::status::Status;

use super::content::heard::Heard;
use super::run::{state_of, Form, PINS, SLOTS, SLOTS_NAME, STATE};

/// Say what is in force on this machine.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// `live` for people or `json`.
    #[arg(short, long, value_enum, default_value = "live")]
    pub output: Form,
    /// Folder on a bpffs to look under.
    #[arg(long, value_name = "DIR", default_value = PINS)]
    pub pins: PathBuf,
    /// Folder of the lock: /run/watertight, or that of the user's own run where there is none of root's.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// Exit code 0 if everything is seen and read, 3 if something of that is missing, or the repository was not heard lately.
///
/// # Errors
/// Pins are there but can't be read.
pub fn run(args: &StatusArgs) -> anyhow::Result<u8> {
    let state = match &args.state {
        None if RunLock::holder(Path::new(STATE)).is_some() => PathBuf::from(STATE),
        named => state_of(named.as_deref()),
    };
    // The content slots of root's run are elsewhere than its lock.
    let slots = if args.state.is_none() && state == Path::new(STATE) { SLOTS.into() } else { state.join(SLOTS_NAME) };
    let status = Status::read(&args.pins, &state, &slots)?;
    let heard = slots.parent().and_then(Heard::read);
    let mut text = String::new();
    if args.output == Form::Json {
        let mut json = status.to_json();
        if let Some(fields) = json.as_object_mut() {
            fields.insert("repository".into(), heard.as_ref().map(Heard::to_json).into());
        }
        text = format!("{json}\n");
    } else {
        text.push_str(&printable_lines(&status.to_text()));
        if let Some(deny) = &status.deny {
            super::policy::text::fallback(&mut text, deny);
        }
        text.push_str(&heard.as_ref().map(Heard::to_text).unwrap_or_default());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(not_written("the status"))?;
    let is_fresh = heard.is_none_or(|heard| heard.is_well());
    Ok(if status.is_whole() && is_fresh { 0 } else { 3 })
}
