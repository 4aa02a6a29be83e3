//! One source for each class of events, chosen by what opened, and what is missing with the mend.

use std::path::PathBuf;

use serde::Serialize;
use watertight_sensor_abi::Hook;

use crate::filter::{Class, Filter};
use crate::guard::LoadedGuard;
use crate::loader::{NotLoaded, Report};
use crate::there::{self, There};

/// The mend where there is no run.
pub(crate) const START: &str = "start `watertight run`";

/// How far the machine is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything is seen and policy is enforced in the kernel.
    Enforce,
    /// Events are seen, nothing can be denied.
    Observe,
    /// No source works.
    None,
}

/// One class of events.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The class.
    pub class: &'static str,
    /// Source in use, or `none`.
    pub source: String,
    /// What this source can't see; empty when nothing is missing.
    pub missing: String,
    /// What to do about it; empty when there is nothing to do.
    pub mend: String,
}

/// What is in force on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// Always `matrix`, to tell the line from events.
    pub kind: &'static str,
    /// The level.
    pub level: Level,
    /// Why the level is not higher; empty at `enforce`.
    pub degraded: String,
    /// A row for each class.
    pub rows: Vec<Row>,
    /// Programs that are not in force, and why.
    pub refused: Vec<(String, String)>,
    /// What policy is in force, in a few words; empty without a guard.
    pub policy: String,
    /// What is left out by `--mute`, and where that is in force.
    pub muted: Vec<Muted>,
    /// Whether the file and network events of our own processes are left out; empty if they are, else why not.
    pub own_events: String,
}

/// A filter and whether something acts on it.
#[derive(Clone, Debug, Serialize)]
pub struct Muted {
    /// The filter as it was given.
    pub filter: String,
    /// Classes whose events it leaves out.
    pub in_force: Vec<&'static str>,
    /// Classes that it names whose source knows no filters: their events are shown.
    pub not_in_force: Vec<&'static str>,
}

/// Which fallback sources opened.
#[derive(Clone, Debug, Default)]
pub struct Fallbacks {
    /// fanotify filesystem marks, or why not.
    pub fanotify: Option<Result<(), String>>,
    /// The proc connector, or why not.
    pub proc_connector: Option<Result<(), String>>,
    /// sock_diag, or why not.
    pub sock_diag: Option<Result<(), String>>,
}

/// What the matrix is made from.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What the loader attached, or why it attached nothing.
    pub kernel: Option<Report>,
    /// Why the loader attached nothing.
    pub kernel_refused: String,
    /// If that is the loader's fault and not the kernel's: what to do about the loader.
    pub loader_mend: String,
    /// The guard that is in force, or why none is; `None` if nobody asked for one.
    pub guard: Option<Result<LoadedGuard, String>>,
    /// What policy is in force, in a few words.
    pub policy: String,
    /// Fallback sources that were tried.
    pub fallbacks: Fallbacks,
    /// What the administrator wants to be left out.
    pub filters: Vec<Filter>,
    /// How many files and folders are marked to deny exec by fanotify, or why none; `None` if no policy asks for it.
    pub deny_by_fanotify: Option<Result<usize, String>>,
    /// How the processes that were there already were read.
    pub processes: There,
    /// This is not the start of a run but a look at what is in force.
    pub is_read_back: bool,
    /// With `is_read_back`: a run is at work that reads what the programs collect.
    pub has_reader: bool,
    /// The recording that events are taken from in place of this machine.
    pub recording: Option<PathBuf>,
}

/// Why nothing of this machine is in force.
pub const RECORDED: &str = "events come from a recording, this machine is not watched";

/// Source of denial while `watertight run` runs. It is not the level `enforce`: it ends with the run.
const FANOTIFY_DENY: &str = "fanotify permission";

impl Found {
    /// What is known where nothing is loaded.
    #[must_use]
    pub fn without_kernel(NotLoaded { why, is_loaders_fault }: NotLoaded) -> Self {
        let loader_mend = if is_loaders_fault { why.clone() } else { String::new() };
        Self { kernel_refused: why, loader_mend, ..Self::default() }
    }

    /// Whether the program of a hook is attached.
    #[must_use]
    pub fn has(&self, hook: Hook) -> bool {
        self.kernel.as_ref().is_some_and(|report| report.attached.iter().any(|name| name == hook.program()))
    }

    /// Whether LSM programs are admitted at all.
    #[must_use]
    pub fn has_lsm(&self) -> bool {
        self.kernel.as_ref().is_some_and(Report::has_lsm)
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self, mend: &Mend) -> Matrix {
        if self.recording.is_some() {
            return Matrix::of_recording();
        }
        let mend = &match self.loader_mend.as_str() {
            "" => mend.clone(),
            loader => Mend { lsm: loader.into(), bpf: loader.into(), ..mend.clone() },
        };
        let rows = vec![
            self.process(mend),
            self.processes.row(mend),
            self.file(mend),
            self.network(mend),
            self.system(mend),
            self.deny(mend),
        ];
        let level = match () {
            // Who was there before is always known from somewhere; it protects nothing.
            () if rows.iter().all(|row| row.class == there::CLASS || row.source == "none") => Level::None,
            () if self.is_unread() && self.kernel.is_some() => Level::None,
            () if rows.last().is_some_and(|row| row.source != "none" && row.source != FANOTIFY_DENY) => Level::Enforce,
            () => Level::Observe,
        };
        let degraded = if level == Level::Enforce { String::new() } else { self.why_degraded() };
        let refused = self.kernel.as_ref().map_or_else(Vec::new, |report| {
            report.refused.iter().map(|refused| (refused.program.clone(), refused.why.clone())).collect()
        });
        let muted = self.filters.iter().map(|filter| self.muted(filter)).collect();
        Matrix {
            kind: "matrix",
            level,
            degraded,
            rows,
            refused,
            policy: self.policy.clone(),
            muted,
            own_events: self.own_events(),
        }
    }

    /// A filter acts where a BPF hook is the source; the other sources deliver what they deliver.
    fn muted(&self, filter: &Filter) -> Muted {
        let mut muted = Muted { filter: filter.to_string(), in_force: Vec::new(), not_in_force: Vec::new() };
        for class in &filter.classes {
            let (name, is_filtered) = match class {
                Class::File => ("file", self.has(Hook::FileOpen)),
                Class::Net => ("network", self.has(Hook::SockConnect) || self.has(Hook::SockState)),
            };
            if is_filtered { &mut muted.in_force } else { &mut muted.not_in_force }.push(name);
        }
        muted
    }

    fn own_events(&self) -> String {
        match &self.kernel {
            None => "no kernel program is loaded".into(),
            Some(report) if !self.has(Hook::TaskExec) => {
                let why = report.refused.iter().find(|refused| refused.program == Hook::TaskExec.program());
                why.map_or_else(|| "task_exec is not attached".into(), |refused| refused.why.clone())
            }
            Some(report) => report.untrusted.clone().unwrap_or_default(),
        }
    }

    /// What the programs collect fills the rings and is seen by nobody.
    fn is_unread(&self) -> bool {
        self.is_read_back && !self.has_reader
    }

    fn why_degraded(&self) -> String {
        if self.is_unread() && self.kernel.is_some() {
            return "no run reads what the programs collect: start `watertight run` (what a policy denies stays denied)".into();
        }
        if self.is_read_back && self.kernel.is_some() && !self.has_lsm() {
            return "no BPF LSM program is in force".into();
        }
        if self.has_lsm() {
            return "no enforcement is loaded".into();
        }
        match &self.kernel {
            Some(report) => report.refused.first().map_or_else(String::new, |refused| refused.why.clone()),
            None => self.kernel_refused.clone(),
        }
    }

    fn process(&self, mend: &Mend) -> Row {
        let is_complete = [Hook::TaskFork, Hook::TaskExec, Hook::TaskExit].iter().all(|hook| self.has(*hook));
        if is_complete && self.has(Hook::TaskFixSetuid) {
            return row("process", "BPF LSM + tp_btf", "", "");
        }
        if is_complete {
            return row("process", "tp_btf", "credential changes", &mend.lsm);
        }
        match &self.fallbacks.proc_connector {
            Some(Ok(())) => row("process", "proc connector", "short processes' arguments, credentials", &mend.bpf),
            other => row("process", "none", "everything", refusal(other.as_ref(), mend)),
        }
    }

    fn file(&self, mend: &Mend) -> Row {
        if self.has(Hook::FileOpen) && self.has(Hook::FileUnlink) && self.has(Hook::FileRename) {
            return row("file", "BPF LSM", "", "");
        }
        match &self.fallbacks.fanotify {
            Some(Ok(())) => {
                let missing = "open for write, attempts, unix sockets, order within merged records";
                row("file", "fanotify", missing, &mend.lsm)
            }
            other => row("file", "none", "everything", refusal(other.as_ref(), mend)),
        }
    }

    fn network(&self, mend: &Mend) -> Row {
        if self.has(Hook::SockConnect) && self.has(Hook::SockBind) {
            return row("network", "BPF LSM", "", "");
        }
        if self.has(Hook::SockState) {
            return row("network", "tp_btf", "UDP, bind, the process that accepts", &mend.lsm);
        }
        match &self.fallbacks.sock_diag {
            Some(Ok(())) => row("network", "sock_diag", "connections shorter than the poll", &mend.bpf),
            other => row("network", "none", "everything", refusal(other.as_ref(), mend)),
        }
    }

    fn system(&self, mend: &Mend) -> Row {
        if self.has(Hook::BpfUse) && self.has(Hook::Mount) && self.has(Hook::PtraceAccess) {
            return row("module, bpf, ptrace, mount, io_uring", "BPF LSM", "", "");
        }
        row("module, bpf, ptrace, mount, io_uring", "none", "everything", &mend.lsm)
    }

    fn deny(&self, mend: &Mend) -> Row {
        const CLASS: &str = "deny exec, file, module, connect";
        match &self.guard {
            Some(Ok(_)) => return row(CLASS, "BPF LSM", "", ""),
            Some(Err(why)) if self.has_lsm() || self.is_read_back => {
                return row(CLASS, "none", &format!("enforcement: {why}"), &mend.policy);
            }
            _ => {}
        }
        match &self.deny_by_fanotify {
            Some(Ok(count)) => {
                let missing = format!("all but exec of {count} marked files and folders, while this runs");
                return row(CLASS, FANOTIFY_DENY, &missing, &mend.lsm);
            }
            Some(Err(why)) => return row(CLASS, "none", "enforcement", why),
            None => {}
        }
        let why = if self.has_lsm() { mend.policy.as_str() } else { mend.lsm.as_str() };
        row(CLASS, "none", "enforcement", why)
    }
}

/// The last source's own words, which name its mend, where it was tried.
fn refusal<'w>(tried: Option<&'w Result<(), String>>, mend: &'w Mend) -> &'w str {
    match tried {
        Some(Err(why)) if mend.is_root => why,
        _ => &mend.root,
    }
}

pub(crate) fn row(class: &'static str, source: &str, missing: &str, mend: &str) -> Row {
    Row { class, source: source.into(), missing: missing.into(), mend: mend.into() }
}

impl Matrix {
    /// What is in force where a recording is read in place of the machine.
    fn of_recording() -> Self {
        let classes = ["process", "file", "network", "module, bpf, ptrace, mount, io_uring"];
        Self {
            kind: "matrix",
            level: Level::None,
            degraded: RECORDED.into(),
            rows: classes.map(|class| row(class, "recording", "this machine", "run without --source")).into(),
            refused: Vec::new(),
            policy: String::new(),
            muted: Vec::new(),
            own_events: RECORDED.into(),
        }
    }

    /// Whether every class has a source and the enforcement is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.source != "none")
    }

    /// The classes without a source.
    pub fn absent(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.rows.iter().filter(|row| row.source == "none").map(|row| row.class)
    }

    /// As a table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let level = format!("{:?}", self.level).to_lowercase();
        let _ = match self.degraded.as_str() {
            "" => writeln!(text, "level: {level}"),
            why => writeln!(text, "level: {level} (degraded: {why})"),
        };
        for row in &self.rows {
            let _ = write!(text, "  {:<38} {:<17}", row.class, row.source);
            if !row.missing.is_empty() {
                let _ = write!(text, " missing: {}", row.missing);
            }
            text.push('\n');
            if !row.mend.is_empty() {
                let _ = writeln!(text, "  {:<38} {:<17} mend: {}", "", "", row.mend);
            }
        }
        if !self.policy.is_empty() {
            let _ = writeln!(text, "policy: {}", self.policy);
        }
        for muted in &self.muted {
            let _ = write!(text, "muted: {}", muted.filter);
            let _ = match (muted.in_force.join(", "), muted.not_in_force.join(", ")) {
                (in_force, none) if none.is_empty() => writeln!(text, " (in force: {in_force})"),
                (none, shown) if none.is_empty() => {
                    writeln!(text, " (NOT in force: {shown}: no BPF hook is the source)")
                }
                (in_force, shown) => {
                    writeln!(text, " (in force: {in_force}; NOT in force: {shown}: no BPF hook is the source)")
                }
            };
        }
        text
    }
}

/// What would raise the level on this machine.
#[derive(Clone, Debug)]
pub struct Mend {
    /// To have BPF LSM.
    pub lsm: String,
    /// To have BPF at all.
    pub bpf: String,
    /// To have more than an ordinary user may see.
    pub root: String,
    /// To have enforcement where the kernel admits it.
    pub policy: String,
    /// Whoever asks is root: what was refused was not refused for that.
    pub is_root: bool,
}

impl Mend {
    /// Reads what the machine says of itself.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::of(&Machine {
            is_root: rustix::process::geteuid().is_root(),
            has_btf: std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
            lockdown: std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default(),
            lsm: std::fs::read_to_string("/sys/kernel/security/lsm").ok(),
        })
    }

    /// What stands in the way comes first: nothing behind it helps before it is gone.
    fn of(machine: &Machine) -> Self {
        let bpf = match () {
            () if !machine.is_root => "run as root".to_owned(),
            () if machine.lockdown.contains("[confidentiality]") => {
                "the kernel is locked down for confidentiality, which forbids BPF to read kernel memory: boot with \
                 lockdown=integrity or without lockdown="
                    .into()
            }
            () if !machine.has_btf => {
                "the kernel does not describe its types (no /sys/kernel/btf/vmlinux): boot one with CONFIG_DEBUG_INFO_BTF, \
                 as Debian's are"
                    .into()
            }
            () => String::new(),
        };
        if !bpf.is_empty() {
            return Self { lsm: bpf.clone(), root: bpf.clone(), policy: bpf.clone(), bpf, is_root: machine.is_root };
        }
        let bpf = "a kernel with CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF (Debian's stock kernels have both)";
        let policy = "put a policy in force: `watertight policy apply FILE`".into();
        Self { lsm: lsm_mend(machine.lsm.as_deref()), root: bpf.into(), bpf: bpf.into(), policy, is_root: true }
    }
}

/// What a mend depends on.
#[derive(Clone, Debug, Default)]
struct Machine {
    is_root: bool,
    has_btf: bool,
    /// As /sys/kernel/security/lockdown has it: `none integrity [confidentiality]`.
    lockdown: String,
    lsm: Option<String>,
}

/// The kernel command line that would have `bpf` in the list of LSMs.
fn lsm_mend(listed: Option<&str>) -> String {
    match listed.map(str::trim) {
        None | Some("") => {
            "boot a kernel that admits BPF LSM; mount securityfs (mount -t securityfs none /sys/kernel/security) to see whether lsm=...,bpf is set"
                .into()
        }
        Some(list) if list.split(',').any(|name| name == "bpf") => {
            "`bpf` is in the LSM list, but the kernel refuses the programs: boot a stock kernel".into()
        }
        Some(list) => format!("boot with lsm={list},bpf"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(attached: &[&str]) -> Report {
        Report { attached: attached.iter().map(|name| (*name).to_owned()).collect(), ..Report::default() }
    }

    #[test]
    fn a_kernel_without_lsm_is_degraded_and_says_what_is_missing() {
        let found = Found {
            kernel: Some(report(&["task_fork", "task_exec", "task_exit", "sock_state"])),
            fallbacks: Fallbacks { fanotify: Some(Ok(())), ..Fallbacks::default() },
            ..Found::default()
        };
        let matrix = found.matrix(&Mend::of_this_machine());
        assert_eq!(matrix.level, Level::Observe);
        assert_eq!(
            matrix.rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>(),
            ["tp_btf", "/proc", "fanotify", "tp_btf", "none", "none"]
        );
        assert!(!matrix.is_whole());
    }

    #[test]
    fn a_filter_that_no_hook_acts_on_is_not_called_in_force() {
        let found = Found {
            kernel: Some(report(&["task_exec", "sock_state"])),
            filters: vec!["uid=1000".parse().expect("a good filter")],
            ..Found::default()
        };
        let matrix = found.matrix(&Mend::of_this_machine());
        let muted = matrix.muted.first().expect("the filter");
        assert_eq!((muted.in_force.as_slice(), muted.not_in_force.as_slice()), (&["network"][..], &["file"][..]));
        assert!(matrix.to_text().contains("NOT in force: file"), "{}", matrix.to_text());
    }

    #[test]
    fn programs_that_nobody_reads_protect_nothing() {
        let read = Found {
            kernel: Some(report(&["task_fork", "task_exec", "task_exit"])),
            is_read_back: true,
            has_reader: true,
            ..Found::default()
        };
        let mend = Mend::of_this_machine();
        assert_eq!(read.matrix(&mend).level, Level::Observe);
        assert_eq!(read.matrix(&mend).degraded, "no BPF LSM program is in force");
        let unread = Found { has_reader: false, ..read }.matrix(&mend);
        assert_eq!(unread.level, Level::None);
        assert!(unread.degraded.contains("no run reads"), "{}", unread.degraded);
    }

    #[test]
    fn the_guard_in_force_is_enforcement_and_a_damaged_one_is_none() {
        let whole = Found { guard: Some(Ok(LoadedGuard::default())), is_read_back: true, ..Found::default() };
        let mend = Mend::of_this_machine();
        assert_eq!(whole.matrix(&mend).level, Level::Enforce, "it needs no run");
        let damaged = Found { guard: Some(Err("a pin is missing".into())), ..whole }.matrix(&mend);
        assert_eq!(damaged.level, Level::None);
        assert!(damaged.to_text().contains("a pin is missing"));
    }

    #[test]
    fn where_the_loader_is_missing_the_mend_is_not_another_kernel() {
        let mend = Mend { is_root: true, bpf: "a kernel".into(), ..Mend::of_this_machine() };
        let missing = NotLoaded { why: "the loader is not there: install it".into(), is_loaders_fault: true };
        let matrix = Found::without_kernel(missing).matrix(&mend);
        let process =
            matrix.rows.iter().find(|row| row.class == "module, bpf, ptrace, mount, io_uring").expect("a row");
        assert_eq!(process.mend, "the loader is not there: install it");
        let refused = NotLoaded { why: "the kernel refuses it".into(), is_loaders_fault: false };
        let matrix = Found::without_kernel(refused).matrix(&mend);
        assert!(!matrix.to_text().contains("mend: the kernel refuses it"), "{}", matrix.to_text());
    }

    #[test]
    fn without_root_the_mend_is_root_whatever_the_sources_say() {
        let fallbacks = Fallbacks { fanotify: Some(Err("not permitted in five lines".into())), ..Fallbacks::default() };
        let found = Found { fallbacks, ..Found::default() };
        let mend = Mend::of(&Machine { is_root: false, ..Machine::default() });
        let matrix = found.matrix(&mend);
        assert!(matrix.rows.iter().all(|row| row.mend.is_empty() || row.mend == "run as root" || row.source != "none"));
        assert!(!matrix.to_text().contains("five lines"), "{}", matrix.to_text());
    }

    #[test]
    fn nothing_that_opens_is_called_none() {
        assert_eq!(Found::default().matrix(&Mend::of_this_machine()).level, Level::None);
    }

    #[test]
    fn the_mend_names_what_stands_in_the_way_first() {
        let sound = Machine { is_root: true, has_btf: true, lsm: Some("lockdown,bpf".into()), ..Machine::default() };
        assert!(Mend::of(&sound).lsm.contains("refuses the programs"));
        let locked = Machine { lockdown: "none integrity [confidentiality]\n".into(), ..sound.clone() };
        assert!(Mend::of(&locked).lsm.contains("lockdown=integrity"));
        let integrity = Machine { lockdown: "none [integrity] confidentiality\n".into(), ..sound.clone() };
        assert!(!Mend::of(&integrity).lsm.contains("lockdown=integrity"));
        let untyped = Machine { has_btf: false, ..sound };
        assert!(Mend::of(&untyped).bpf.contains("/sys/kernel/btf/vmlinux"));
        assert_eq!(Mend::of(&Machine { is_root: false, ..untyped }).root, "run as root");
    }

    #[test]
    fn the_mend_names_the_exact_kernel_parameter() {
        assert_eq!(lsm_mend(Some("lockdown,yama,apparmor\n")), "boot with lsm=lockdown,yama,apparmor,bpf");
    }
}
