//! What is in force now, read back from the kernel: the pinned links by their ids, the counters of their hooks, and the
//! sources that the workers of the run hold open. No file that says so is believed; how the run began is its own word (`there`).

mod guard;
mod sources;
mod workers;

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{json, Value as Json};
use watertight_sensor_abi::{Hook, HOOKS};
use watertight_sensor_reader::{open_pinned, read_counters, read_link, PinnedLink};

use crate::account::{HookCounts, SourceCounts};
use crate::deny::store::Status as Deny;
use crate::guard::LoadedGuard;
use crate::in_force;
use crate::loader::{Refused, Report};
use crate::lock::RunLock;
use crate::matrix::{Fallbacks, Found, Matrix, Mend, START};
use crate::publisher::word::Word;
use crate::slots::{InForce, Overview, Slots};
use crate::supervisor::factory;
use crate::there::There;
use crate::worker::tally::{Tally, SOURCES};

/// A hook that is in force.
#[derive(Debug)]
pub struct Attached {
    hook: Hook,
    link: PinnedLink,
    counts: HookCounts,
}

/// What the run at work has received, as it counts itself.
#[derive(Debug)]
pub struct Account {
    /// By hook.
    received: Vec<u64>,
    /// Of the sources that are in use.
    sources: Vec<SourceCounts>,
}

/// What is in force on this machine.
#[derive(Debug)]
pub struct Status {
    /// Process id of the run that is at work.
    pub run: Option<u32>,
    /// Build of the programs.
    pub build: Option<String>,
    /// Hooks in force.
    pub hooks: Vec<Attached>,
    /// What the run at work has received by hook and from the other sources, or why that can't be seen.
    pub account: Result<Account, String>,
    /// The matrix.
    pub matrix: Matrix,
    /// What the programs leave out, as their own map has it.
    pub muted: Vec<String>,
    /// What the run denies by fanotify, if a policy asks for it.
    pub deny: Option<Deny>,
    /// The content slots.
    pub slots: Overview,
    /// The content that the run at work says it has in force.
    pub content: Option<InForce>,
    /// The deny rules of packs, as that run says.
    pub policy: Option<Word>,
    /// What the run at work says holds its workers.
    pub workers: Vec<workers::Held>,
}

impl Status {
    /// Looks.
    ///
    /// # Errors
    /// Pins are there but may not be read, so that nothing can be said.
    pub fn read(pins: &Path, state: &Path, slots: &Path) -> Result<Self> {
        let run = RunLock::holder(state).or_else(|| RunLock::holder_of_pins(pins));
        let mut found = Found { is_read_back: true, has_reader: run.is_some(), ..Found::default() };
        let mut hooks = Vec::new();
        let directory = pinned_build(pins)?;
        let build = directory.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        match &directory {
            Some(directory) => {
                let (attached, report) = read_back(directory).with_context(|| match run {
                    Some(pid) => format!(
                        "process {pid} watches this machine, and only root can see with what: sudo watertight status"
                    ),
                    None => "what is pinned can't be read: sudo watertight status".to_owned(),
                })?;
                hooks = attached;
                found.kernel = Some(report);
            }
            None => found.kernel_refused = "no kernel program is pinned: start `watertight run`".into(),
        }
        found.fallbacks = sources::of_run(run);
        let account = run.map_or_else(|| Err("no run is at work".into()), |run| Account::of(run, &found.fallbacks));
        found.processes = There::word_of(run, state);
        let deny = Deny::read(state);
        found.deny_by_fanotify = guard::listener(deny.as_ref(), run);
        found.guard = guard::read_back(pins).map(|read| read.map(|_| LoadedGuard::default()));
        if let Some(Ok(_)) = found.guard {
            found.policy = "`watertight policy show` tells".into();
        }
        let mut mend = Mend::of_this_machine();
        if run.is_none() && directory.is_none() {
            // Nothing was tried, so nothing is known to be wrong with the kernel.
            mend.lsm = START.to_owned();
            mend.bpf = START.to_owned();
        }
        let matrix = found.matrix(&mend);
        let muted = directory.as_deref().map_or(Ok(Vec::new()), in_force::muted)?;
        let slots = Overview::of(&Slots::at(slots, factory()));
        let content = run.and_then(|run| InForce::of_run(state, run));
        let policy = run.and_then(|run| Word::of_run(state, run));
        let workers = workers::of_run(state, run);
        Ok(Self { run, build, hooks, account, matrix, muted, deny, slots, content, policy, workers })
    }

    /// Whether everything is seen and read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let has_rules = self.content.as_ref().is_some_and(InForce::has_rules);
        let has_policy = !self.policy.as_ref().is_some_and(Word::is_short);
        let is_seen = self.run.is_some() && !self.hooks.is_empty() && self.matrix.is_whole();
        is_seen && has_rules && has_policy && self.slots.is_sound()
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let hooks: Vec<Json> = self.hooks.iter().map(|attached| attached.to_json(self.received(attached))).collect();
        let sources = self.account.as_ref().ok().map(|account| account.sources.iter().map(SourceCounts::to_json));
        json!({
            "kind": "status",
            "level": self.matrix.level,
            "degraded": self.matrix.degraded,
            "run": self.run,
            "build": self.build,
            "rows": self.matrix.rows,
            "refused": self.matrix.refused,
            "hooks": hooks,
            "sources": sources.map(Iterator::collect::<Vec<Json>>),
            "received_unknown": self.account.as_ref().err(),
            "muted": self.muted,
            "deny_by_fanotify": self.deny,
            "content": self.content,
            "pack_policy": self.policy,
            "slots": self.slots,
            "workers": self.workers,
        })
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = match self.run {
            Some(pid) => format!("run: process {pid}\n"),
            None => "run: none (start it with `watertight run`)\n".to_owned(),
        };
        text.push_str(&self.matrix.to_text());
        match (&self.content, self.run) {
            (Some(content), _) => {
                let _ = writeln!(text, "content: {content}");
            }
            (None, Some(_)) => text.push_str("content: unknown: the run has not said which is in force\n"),
            (None, None) => {}
        }
        text.push_str(&self.policy.as_ref().map(Word::to_text).unwrap_or_default());
        text.push_str(&self.slots.to_text());
        for workers::Held { worker, pid, sandbox } in &self.workers {
            let _ = writeln!(text, "{worker}: process {pid}, {sandbox}");
        }
        for filter in &self.muted {
            let _ = writeln!(text, "muted: {filter}");
        }
        let _ = writeln!(
            text,
            "{} telemetry hooks attached; counts since they were loaded, what was received since the run began",
            self.hooks.len()
        );
        for attached in &self.hooks {
            let Attached { hook, link, counts } = attached;
            let balanced = if counts.is_balanced() { "" } else { "  (running: not balanced at this instant)" };
            let received = self.received(attached).map_or_else(|| "unknown".to_owned(), |count| count.to_string());
            let _ = writeln!(
                text,
                "  {:<18} link {:<4} hits {:>10}  filtered {:>10}  submitted {:>10}  aggregated {:>8}  lost: ring full {:>6}, no \
                 scratch {:>3}  received {received:>10}{balanced}",
                hook.program(),
                link.link,
                counts.hits,
                counts.filtered,
                counts.submitted,
                counts.aggregated,
                counts.lost_ring_full,
                counts.lost_no_scratch
            );
        }
        for source in self.account.iter().flat_map(|account| &account.sources) {
            let SourceCounts { source, received, filtered, malformed, overflows } = source;
            let _ = writeln!(
                text,
                "  {source:<28} hits    unknown  filtered {filtered:>10}  malformed {malformed:>10}  overflows {overflows:>9}  \
                 received {received:>10}"
            );
        }
        text
    }

    /// Records of a hook that the run at work has received.
    fn received(&self, attached: &Attached) -> Option<u64> {
        self.account.as_ref().ok()?.received.get(usize::from(attached.hook as u16)).copied()
    }
}

impl Account {
    fn of(run: u32, fallbacks: &Fallbacks) -> Result<Self, String> {
        let page = Tally::of_process(run).map_err(|error| error.to_string())?;
        let used = [&fallbacks.fanotify, &fallbacks.proc_connector, &fallbacks.sock_diag];
        let used = SOURCES.iter().zip(used).filter(|(_, used)| matches!(used, Some(Ok(()))));
        Ok(Self { received: page.received(), sources: used.map(|(name, _)| page.source(name)).collect() })
    }
}

impl Attached {
    fn to_json(&self, received: Option<u64>) -> Json {
        json!({
            "hook": self.hook.program(),
            "link": self.link.link,
            "program": self.link.program,
            "counts": self.counts,
            "received": received,
            "balanced": self.counts.is_balanced(),
        })
    }
}

/// The folder of a build whose programs are pinned.
fn pinned_build(pins: &Path) -> Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(pins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("looking at {} (root may)", pins.display())),
    };
    let folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // Two are there while one takes the other's place.
    Ok(in_force::build(pins).or_else(|| folders.into_iter().find(|folder| folder.join("links").is_dir())))
}

fn read_back(directory: &Path) -> Result<(Vec<Attached>, Report)> {
    let counters = open_pinned(&directory.join("counters"))?;
    let counts = read_counters(counters.as_fd())?.into_iter().map(HookCounts::from);
    let mut report = Report { directory: directory.to_owned(), ..Report::default() };
    let mut hooks = Vec::new();
    for (hook, counts) in HOOKS.iter().zip(counts) {
        let pin = directory.join("links").join(hook.program());
        let why = match pin.try_exists() {
            Ok(true) => match read_link(&pin, hook.program(), hook.class()) {
                Ok(link) => {
                    report.attached.push(hook.program().to_owned());
                    hooks.push(Attached { hook: *hook, link, counts });
                    continue;
                }
                Err(error) => error.to_string(),
            },
            _ => "not pinned".to_owned(),
        };
        report.refused.push(Refused { program: hook.program().to_owned(), why });
    }
    Ok((hooks, report))
}
