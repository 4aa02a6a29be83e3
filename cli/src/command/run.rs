//! `watertight run`: protects and watches this machine until Ctrl-C or the end of `--for`.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use watertight_engine::Action;
use watertight_host::filter::Filter;
use watertight_host::supervisor::{self, Options};
use watertight_host::worker::protocol::Format;

/// Where things are pinned unless told otherwise.
pub const PINS: &str = "/sys/fs/bpf/watertight";
/// Folder of the lock and the heartbeat unless told otherwise.
pub const STATE: &str = "/run/watertight";

/// Folder of the content slots unless told otherwise: it outlives a reboot.
pub const SLOTS: &str = "/var/lib/watertight/slots";
/// Name of that folder in a state folder that was named.
pub const SLOTS_NAME: &str = "slots";

/// The same for a run without root, which can't write there.
fn own_state() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir()) {
        Some(folder) => folder.join("watertight"),
        None => std::env::temp_dir().join(format!("watertight-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The state folder that was named, or the one of whoever asks.
pub fn state_of(named: Option<&Path>) -> PathBuf {
    match named {
        Some(folder) => folder.to_owned(),
        None if rustix::process::geteuid().is_root() => PathBuf::from(STATE),
        None => own_state(),
    }
}

/// Where the content slots are, given the state folder that was named.
pub fn slots_of(named: Option<&Path>) -> PathBuf {
    match named {
        None if rustix::process::geteuid().is_root() => PathBuf::from(SLOTS),
        named => state_of(named).join(SLOTS_NAME),
    }
}

/// What is watched, for how long, and how it is shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Watching {
    /// How long: `30s`, `5m`, `2h`. Until Ctrl-C when not given.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// `live` for people (the default on a terminal) or `json` for JSON Lines.
    #[arg(short, long, value_enum)]
    pub output: Option<Form>,
    /// Names and shape of JSON events.
    #[arg(long = "as", value_enum, default_value = "native")]
    pub view: ViewName,
    /// Folder with Sigma rules beside the shipped ones; may be given more than once. A rule with the id of a shipped one takes
    /// its place.
    #[arg(long, value_name = "DIR")]
    pub rules: Vec<PathBuf>,
    /// Leave out file and network events: `exe=FILE`, `under=FOLDER` (files), `uid=1000-1999` or `cgroup=FOLDER`, for one
    /// class with `file:` or `net:` before it. May be given more than once. They are counted as filtered; process and
    /// kernel events can't be left out.
    #[arg(long, value_name = "WHAT")]
    pub mute: Vec<Filter>,
    /// Actions that rules may have carried out, where they say `mode: enforce`: `kill`, `deny_next`, or both with a comma. Without it
    /// alerts only say what would have been done.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', value_enum)]
    pub enforce_actions: Vec<ActionName>,
}

/// Protect and watch this machine: events, alerts, and an account at the end.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// What is watched, and how it is shown.
    #[command(flatten)]
    pub watching: Watching,
    /// Watch only: load no guard. What a policy denies that is in force already stays denied.
    #[arg(long)]
    pub observe: bool,
    /// The loader, when it does not lie beside this executable.
    #[arg(long, value_name = "FILE")]
    pub loader: Option<PathBuf>,
    /// Folder on a bpffs to pin under.
    #[arg(long, value_name = "DIR", default_value = PINS)]
    pub pins: PathBuf,
    /// How long new content has to live, and be asked about events, before it is the last known good.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub trial: Duration,
    /// Folder for the lock: /run/watertight for root, else one of the user's own. Content slots are in it; without it in
    /// /var/lib/watertight.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Take events from a recording (`run -o json`), over and over, in place of this machine: nothing of it is watched and nothing
    /// denied. To try content, or a fleet.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mute", "loader"])]
    pub source: Option<PathBuf>,
    /// End when whoever started this ends: as a part of `watertight agent run`.
    #[arg(long, hide = true)]
    pub with_parent: bool,
    /// Standard input is a pipe that takes what is to be reported, beside the output: as a part of `watertight agent run`.
    #[arg(long, hide = true)]
    pub records: bool,
    /// Descriptor that this process left itself when it started anew after the load.
    #[arg(long, hide = true, value_name = "FD")]
    pub resumed: Option<i32>,
}

/// Forms of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A readable line per event.
    Live,
    /// JSON Lines.
    #[value(alias = "jsonl")]
    Json,
}

/// Views of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ViewName {
    /// Our own, complete form.
    Native,
    /// Sigma field names.
    Sigma,
    /// Elastic Common Schema.
    Ecs,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
}

/// Actions that a rule may demand beside an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ActionName {
    /// The process is killed.
    Kill,
    /// Its executable is not started again.
    #[value(name = "deny_next")]
    DenyNext,
}

impl Watching {
    /// The same as options, for a run that another process of ours starts.
    pub(super) fn as_options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| options.extend([OsString::from(name), value]);
        if let Some(duration) = self.duration {
            option("--for", format!("{}ms", duration.as_millis()).into());
        }
        if let Some(form) = self.output {
            option("--output", name_of(&form));
        }
        option("--as", name_of(&self.view));
        self.rules.iter().for_each(|folder| option("--rules", folder.into()));
        self.mute.iter().for_each(|filter| option("--mute", filter.to_string().into()));
        self.enforce_actions.iter().for_each(|action| option("--enforce-actions", name_of(action)));
        options
    }
}

fn name_of(value: &impl clap::ValueEnum) -> OsString {
    value.to_possible_value().map(|value| value.get_name().into()).unwrap_or_default()
}

impl ActionName {
    fn action(self) -> Action {
        match self {
            Self::Kill => Action::Kill,
            Self::DenyNext => Action::DenyNext,
        }
    }
}

/// Exit code 0 if the machine is protected as asked, 3 if a class or the enforcement is missing.
///
/// # Errors
/// Nothing could be watched or a worker died.
pub fn run(args: &RunArgs) -> anyhow::Result<u8> {
    if args.with_parent {
        super::agent::end_with_parent(Signal::TERM)?;
    }
    let watching = &args.watching;
    let is_terminal = std::io::stdout().is_terminal();
    let form = watching.output.unwrap_or(if is_terminal { Form::Live } else { Form::Json });
    let format = match (form, watching.view) {
        (Form::Live, _) => Format::Live,
        (Form::Json, ViewName::Native) => Format::Native,
        (Form::Json, ViewName::Sigma) => Format::Sigma,
        (Form::Json, ViewName::Ecs) => Format::Ecs,
        (Form::Json, ViewName::Ocsf) => Format::Ocsf,
    };
    if args.resumed.is_none() && args.source.is_none() && !rustix::process::geteuid().is_root() {
        watertight_host::say!(
            "watertight: not root: no kernel sensor, no file marks, no policy; run with sudo for these"
        );
    }
    supervisor::run(&Options {
        duration: watching.duration,
        format,
        has_colour: is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        is_terminal: is_terminal && std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb"),
        rules: watching.rules.clone(),
        loader: args.loader.clone(),
        pins: args.pins.clone(),
        state: state_of(args.state.as_deref()),
        slots: slots_of(args.state.as_deref()),
        trial: args.trial,
        actions: watching.enforce_actions.iter().map(|action| action.action()).collect(),
        filters: watching.mute.clone(),
        is_observing: args.observe,
        has_records: args.records,
        recording: args.source.clone(),
        resumed: args.resumed,
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    if digits.is_empty() {
        return Err(format!("{text:?} begins with no number: write 30s, 5m or 2h"));
    }
    let number: u64 =
        digits.parse().map_err(|_| format!("{digits} is too large a number: leave --for out to run without an end"))?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" | "" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(format!("{unit:?} is no unit of time: write 30s, 5m or 2h")),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        watching: Watching,
    }

    #[test]
    fn what_another_process_of_ours_is_told_is_what_was_asked_for() {
        let line = "x --for 30s -o json --as ecs --rules a --rules b --mute file:under=/srv --mute uid=5-9 --enforce-actions kill,deny_next";
        let parse = |words: Vec<OsString>| <Parsed as clap::Parser>::try_parse_from(words).expect("options");
        let asked = parse(line.split(' ').map(OsString::from).collect()).watching;
        let told = parse([vec![OsString::from("x")], asked.as_options()].concat()).watching;
        assert_eq!(format!("{told:?}"), format!("{asked:?}"));
        let nothing = parse(vec!["x".into()]).watching;
        assert_eq!(nothing.as_options(), ["--as", "native"]);
    }

    #[test]
    fn times_are_read_with_their_unit_and_nonsense_is_refused() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert!(duration("3 days").is_err());
        assert!(duration("soon").is_err_and(|words| words.contains("begins with no number")));
        assert!(duration("99999999999999999999s").is_err_and(|words| words.contains("too large")));
    }
}
