//! `watertight worker deny`: marks what the plan names and answers each question from a table.
//!
//! Execs wait for this loop. So nothing in it can wait for anything that could wait for it: no allocation, no open, no file
//! but the one whose descriptor the kernel hands over, no log. All memory is there and locked before the first mark is set.
//! Its own opens are always allowed. What was denied is noted in shared memory, after all that were asked with it were answered.

use std::io::{self, BufRead as _, Write as _};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{bail, Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mm::{mlockall, MlockAllFlags};
use serde::{Deserialize, Serialize};
use watertight_policy::{Mode, Policy};

use super::marks::{mark, open_group, Group};
use super::notes::{Met, Notes};
use super::page::{Page, Progress, ARMED};
use super::plan::Plan;
use crate::guard::RefusedRule;

/// Longest time without a sign of life while there is nothing to answer. A quarter of what the watchdog allows.
const BEAT_NS: i64 = 50_000_000;
/// Questions read at once; each holds a descriptor until it is answered, and noted if it met a mark.
pub(super) const BATCH: usize = 32;
/// Failures to read in a row after which the listener gives up: it ends, and everything is allowed.
const FAILURES_MAX: u32 = 16;

/// What the listener says once it is in force, as one JSON line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Ready {
    /// What is marked, in the order of the page's counters.
    pub marks: Vec<Marked>,
    /// Rules, or parts of rules, that are not in force.
    pub left_out: Vec<RefusedRule>,
}

/// One mark in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Marked {
    /// The rule's id.
    pub rule: String,
    /// Deny or count.
    pub mode: Mode,
    /// The path in the rule.
    pub path: PathBuf,
    /// Its direct children are meant.
    pub is_folder: bool,
}

/// What the loop knows of a mark, by number.
#[derive(Clone, Copy)]
struct Verdict {
    identity: (u64, u64),
    number: usize,
    is_enforced: bool,
}

/// Reads the policy from standard input, says what is in force, and answers until standard input ends.
///
/// # Errors
/// The policy is damaged, nothing can be marked, or the kernel stopped handing over questions: everything is then allowed.
pub fn run(page_fd: i32, loader: Option<&Path>) -> Result<()> {
    crate::worker::sandbox::die_with_parent().context("tying this worker to the supervisor")?;
    leave_terminal();
    // SAFETY: the supervisor passes this descriptor to this process alone.
    let page = Page::map(unsafe { OwnedFd::from_raw_fd(page_fd) }).context("mapping the progress page")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("reading the policy")?;
    let policy: Policy = serde_json::from_str(&line).context("reading the policy")?;
    let plan = Plan::of(&policy, loader);
    let mut ready = Ready { marks: Vec::new(), left_out: plan.left_out.clone() };
    let listener = Listener::prepare(&plan, &page)?;
    let stdin = io::stdin();
    let mut fds = listener.waits_for(stdin.as_fd());
    ready.marks.extend(plan.entries.iter().map(|entry| {
        let (rule, mode, path) = (entry.rule.clone(), entry.mode, entry.path.clone());
        Marked { rule, mode, path, is_folder: entry.is_folder }
    }));
    let mut room = Box::new(Room { questions: Questions([0; BATCH * QUESTION_BYTES]), notes: Notes::prepare()? });
    // Before the first mark: a pipe that nobody reads may make us wait.
    writeln!(io::stdout(), "{}", serde_json::to_string(&ready)?).context("saying what will be in force")?;
    raise_priority();
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).context("locking memory (it needs CAP_IPC_LOCK)")?;
    page.progress().beat();
    page.progress().phase.store(ARMED, Ordering::Release);
    for (number, entry) in plan.entries.iter().enumerate() {
        let group = listener.group_of(entry.is_folder.then_some(number)).context("a mark has a group")?;
        mark(group, entry).map_err(anyhow::Error::msg)?;
        page.progress().beat();
    }
    drop(plan);
    // The line before has been read, or the pipe has room for one word more.
    writeln!(io::stdout(), "armed").context("saying that it is in force")?;
    listener.answer_until_told(&mut fds, &mut room)
}

/// A Ctrl-Z at the terminal stops the run, and its watchdog with it: it must not stop us.
fn leave_terminal() {
    let _ = rustix::process::setsid(); // fails only where we lead a session of our own already
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        // SAFETY: ignoring a signal runs no code; these numbers are valid, so it does not fail.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// A busy machine must not make us late: execs wait. Not being allowed to is no reason not to answer. The loop sleeps
/// between questions, so it takes no processor from anybody.
fn raise_priority() {
    let lowest_of_the_urgent = libc::sched_param { sched_priority: 1 };
    // SAFETY: a plain system call on our own process; the structure lives through it.
    let is_urgent = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const lowest_of_the_urgent) } == 0;
    if !is_urgent {
        const HIGHEST: i32 = -20;
        let _ = rustix::process::setpriority_process(None, HIGHEST);
    }
}

struct Listener<'p> {
    groups: Vec<Group>,
    /// Files by identity, sorted.
    files: Vec<Verdict>,
    /// By number: whether the mark denies.
    is_enforced: Vec<bool>,
    progress: &'p Progress,
    own_pid: i32,
}

impl<'p> Listener<'p> {
    fn prepare(plan: &Plan, page: &'p Page) -> Result<Self> {
        if plan.entries.is_empty() {
            let why: Vec<String> = plan.left_out.iter().map(|left| format!("{}: {}", left.id, left.why)).collect();
            bail!("no rule can be denied by fanotify: {}", why.join("; "));
        }
        let open = |folder| open_group(folder).map_err(anyhow::Error::msg);
        let mut groups = vec![open(None)?];
        let mut files = Vec::new();
        for (number, entry) in plan.entries.iter().enumerate() {
            if entry.is_folder {
                groups.push(open(Some(number))?);
            } else {
                let is_enforced = entry.mode == Mode::Enforce;
                files.push(Verdict { identity: entry.identity, number, is_enforced });
            }
        }
        // Of two rules for one file the one that denies counts.
        files.sort_by_key(|verdict| (verdict.identity, !verdict.is_enforced));
        files.dedup_by_key(|verdict| verdict.identity);
        let is_enforced = plan.entries.iter().map(|entry| entry.mode == Mode::Enforce).collect();
        let own_pid = i32::try_from(std::process::id()).context("our own process id")?;
        Ok(Self { groups, files, is_enforced, progress: page.progress(), own_pid })
    }

    fn group_of(&self, folder: Option<usize>) -> Option<&Group> {
        self.groups.iter().find(|group| group.folder == folder)
    }

    /// Where questions come from, and last where the end is told.
    fn waits_for<'f>(&'f self, end: BorrowedFd<'f>) -> Vec<PollFd<'f>> {
        let groups = self.groups.iter().map(|group| group.fd.as_fd());
        groups.chain([end]).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect()
    }

    /// The loop that execs wait for.
    fn answer_until_told(&self, fds: &mut [PollFd<'_>], room: &mut Room) -> Result<()> {
        let mut failures = 0_u32;
        loop {
            self.progress.beat();
            let wait = Timespec { tv_sec: 0, tv_nsec: BEAT_NS };
            match poll(fds, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => bail!("waiting for questions: {error}"),
            }
            if fds.last().is_some_and(|fd| !fd.revents().is_empty()) {
                return Ok(()); // told to end, or the supervisor is gone: the groups close, everything is allowed
            }
            for group in &self.groups {
                match self.answer_group(group, room) {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        self.progress.failed.fetch_add(1, Ordering::Relaxed);
                        failures = failures.saturating_add(1);
                        if failures > FAILURES_MAX {
                            bail!("reading questions: {error}");
                        }
                    }
                }
            }
        }
    }

    fn answer_group(&self, group: &Group, Room { questions, notes }: &mut Room) -> Result<(), Errno> {
        loop {
            let length = match rustix::io::read(&group.fd, &mut questions.0[..]) {
                Ok(length) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut rest = questions.0.get(..length).unwrap_or_default();
            if !rest.is_empty() {
                self.progress.set_pending(true);
            }
            let mut answered = Ok(());
            while let (Ok(()), Some((question, after))) = (answered, Question::first(rest)) {
                rest = after;
                answered = self.answer(group, &question).map(|met| notes.keep(met));
            }
            if answered.is_ok() {
                self.progress.set_pending(false);
                self.progress.beat();
            }
            notes.tell(&self.progress.denials); // nobody of these waits any more
            answered?;
        }
    }

    /// Answers, and gives what is to be noted of it.
    fn answer(&self, group: &Group, question: &Question) -> Result<Option<Met>, Errno> {
        if question.version != libc::FANOTIFY_METADATA_VERSION {
            return Err(Errno::INVAL); // a layout that we don't know: give up, which allows everything
        }
        if question.fd < 0 {
            return Ok(None); // an overflow: there is nothing to answer, the kernel allowed it
        }
        // SAFETY: the kernel opened this descriptor for us with the question; it is closed when it was answered.
        let file = unsafe { OwnedFd::from_raw_fd(question.fd) };
        let met = if question.pid == self.own_pid { None } else { self.met(group, file.as_fd()) };
        let is_denied = met.is_some_and(|number| self.is_enforced.get(number).copied().unwrap_or(false));
        let response = if is_denied { libc::FAN_DENY } else { libc::FAN_ALLOW };
        respond(group, file.as_fd(), response);
        self.progress.answered.fetch_add(1, Ordering::Relaxed);
        let counter = met.and_then(|number| self.progress.hits.get(number)).unwrap_or(&self.progress.passed);
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(met.map(|number| Met { file, mark: u16::try_from(number).unwrap_or(u16::MAX), pid: question.pid }))
    }

    /// The mark that the opened file met.
    fn met(&self, group: &Group, file: BorrowedFd<'_>) -> Option<usize> {
        if group.folder.is_some() {
            return group.folder;
        }
        // Without a sync no other machine is asked; a file that can't be told is none of ours.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = rustix::fs::statx(file, c"", flags, StatxFlags::INO).ok()?;
        let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        let identity = (device, found.stx_ino);
        let at = self.files.binary_search_by_key(&identity, |verdict| verdict.identity).ok()?;
        self.files.get(at).map(|verdict| verdict.number)
    }
}

/// An answer that the kernel does not take is one that nobody waits for any more.
fn respond(group: &Group, file: BorrowedFd<'_>, response: u32) {
    let answer = libc::fanotify_response { fd: file.as_raw_fd(), response };
    // SAFETY: writes the bytes of a plain structure that lives through the call.
    let _ = unsafe {
        libc::write(group.fd.as_raw_fd(), std::ptr::from_ref(&answer).cast(), size_of::<libc::fanotify_response>())
    };
}

/// Bytes of a question without further records, of which this class has none.
const QUESTION_BYTES: usize = size_of::<libc::fanotify_event_metadata>();

/// All the memory that the loop needs beside its stack.
struct Room {
    questions: Questions,
    notes: Notes,
}

/// Room for a batch, aligned as the kernel writes it.
#[repr(align(8))]
struct Questions([u8; BATCH * QUESTION_BYTES]);

/// What the kernel asks.
struct Question {
    version: u8,
    fd: i32,
    pid: i32,
}

impl Question {
    /// The first question of what was read, and the rest.
    fn first(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let head = bytes.get(..QUESTION_BYTES)?;
        let number = |at: usize| Some(i32::from_ne_bytes(head.get(at..at.saturating_add(4))?.try_into().ok()?));
        let length = usize::try_from(number(0)?).ok()?;
        let rest = bytes.get(length.max(QUESTION_BYTES)..)?;
        Some((Self { version: *head.get(4)?, fd: number(16)?, pid: number(20)? }, rest))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_question_is_read_where_the_kernel_writes_it() {
        type Metadata = libc::fanotify_event_metadata;
        assert_eq!((offset_of!(Metadata, event_len), offset_of!(Metadata, vers)), (0, 4));
        assert_eq!((offset_of!(Metadata, fd), offset_of!(Metadata, pid)), (16, 20));
        let mut bytes = vec![0_u8; 2 * QUESTION_BYTES];
        for (at, fd) in [(0, 5_i32), (QUESTION_BYTES, 6)] {
            bytes[at..at + 4].copy_from_slice(&(QUESTION_BYTES as u32).to_ne_bytes());
            bytes[at + 4] = libc::FANOTIFY_METADATA_VERSION;
            bytes[at + 16..at + 20].copy_from_slice(&fd.to_ne_bytes());
        }
        let (first, rest) = Question::first(&bytes).expect("two questions");
        let (second, rest) = Question::first(rest).expect("one question");
        assert_eq!((first.fd, second.fd, rest.len()), (5, 6, 0));
        assert!(Question::first(rest).is_none());
        assert!(Question::first(&bytes[..QUESTION_BYTES - 1]).is_none(), "cut short");
    }
}
