//! Actions that rules demand, carried out: the detector asks, the supervisor judges and acts, and every request has an outcome that
//! is told.
//!
//! The detector has no rights and may be in somebody else's hands: what it asks for is a process by its id and start, or a file by
//! its identity, for a rule of the content in force; everything else is found out here. The owner of the machine names the actions
//! that may be taken (`run --enforce-actions`); without that a rule only says what it would have done.

pub mod deny;
pub mod judge;
pub mod kill;
pub mod rate;
pub mod request;
pub mod transaction;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watertight_engine::Action;
use watertight_event::{Event, Field, Kind, Outcome as EventOutcome, Source};
use watertight_policy::Rule;

use self::judge::{Judge, Refusal};
use self::kill::Target;
use self::rate::Rate;
use self::request::{Request, Requests};
use self::transaction::Locks;
use crate::output::boot_ns_now;
use crate::printable::printable;

/// Requests that are answered at one look: a rule that fires on everything does not keep the supervisor from its workers.
const REQUESTS_MAX: usize = 64;
/// Processes that wait to be killed at once. A transaction starts thousands of programs, of which few do what a rule knows.
const WAITING_MAX: usize = 64;
/// How often those are looked at.
const WAITING_LOOK: Duration = Duration::from_millis(200);

const NO_SUCH_RULE: &str = "the content in force has no such rule";

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It is on its way: the loader puts the deny rule in force and says so.
    Asked,
    /// It is not to be yet: this process changes the package database above it.
    Waits(u32),
    /// It would have been.
    Audited(&'static str),
    /// It is not to be.
    Refused(String),
    /// Who it is about is not there any more.
    Gone,
}

impl Outcome {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Done => "done".to_owned(),
            Self::Asked => "asked of the loader".to_owned(),
            Self::Waits(holder) => format!(
                "not yet: process {holder} changes the package database and has started it; it is killed when that is over or has left \
                 it behind"
            ),
            Self::Audited(why) => format!("not done, only told: {why}"),
            Self::Refused(why) => format!("refused: {why}"),
            Self::Gone => "gone: the process had ended before".to_owned(),
        }
    }

    fn of_event(&self) -> EventOutcome {
        match self {
            Self::Done => EventOutcome::Done,
            Self::Asked | Self::Waits(_) | Self::Audited(_) | Self::Gone => EventOutcome::Attempted,
            Self::Refused(_) => EventOutcome::Denied,
        }
    }
}

/// The content in force, as requests are measured by it.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'c> {
    /// What it is called in the shared page.
    pub word: u64,
    /// Ids of its rules.
    pub rules: &'c [String],
    /// Its actions are only told.
    pub is_on_trial: bool,
}

/// Judges requests, and acts.
pub struct Actor {
    enforced: BTreeSet<&'static str>,
    /// Our loader's executable.
    loader: Option<PathBuf>,
    rate: Rate,
    /// Processes that were killed last, by id and start: one takes a moment to be gone.
    killed: VecDeque<(u32, u64)>,
    /// Processes that are to be killed once no package transaction is above them.
    waiting: VecDeque<(Request, Target)>,
    looked: Instant,
    /// Where the locks of package databases are looked for.
    package_locks: Vec<PathBuf>,
}

/// A deny rule to be put in force, because of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The deny rule.
    pub deny: Rule,
    /// The executable.
    pub path: PathBuf,
    /// The rule of the content.
    pub rule: String,
}

impl Actor {
    /// Takes these actions and no others. `loader` is our own one's executable.
    #[must_use]
    pub fn new(enforced: &[Action], loader: Option<&Path>) -> Self {
        let enforced = enforced.iter().map(|action| action.name()).collect();
        Self {
            enforced,
            loader: loader.map(Path::to_owned),
            rate: Rate::default(),
            killed: VecDeque::new(),
            waiting: VecDeque::new(),
            looked: Instant::now(),
            package_locks: transaction::paths(),
        }
    }

    /// Answers what the detector has asked for since the last look. `deny` puts a deny rule in force, or says why not.
    pub fn look(
        &mut self,
        requests: &Requests,
        content: InForce<'_>,
        deny: &mut dyn FnMut(Wanted) -> Outcome,
    ) -> Vec<Event> {
        let mut told = self.look_at_waiting(content);
        for _ in 0..REQUESTS_MAX {
            let request = match requests.next() {
                None => break,
                Some(Ok(request)) => request,
                Some(Err(why)) => {
                    crate::say!("watertight: the detector asks for what is no action: {}", printable(&why));
                    continue;
                }
            };
            let outcome = self.act(&request, content, deny);
            told.push(event(&request, &outcome));
        }
        told
    }

    fn act(&mut self, request: &Request, content: InForce<'_>, deny: &mut dyn FnMut(Wanted) -> Outcome) -> Outcome {
        if !self.enforced.contains(request.action.name()) {
            return Outcome::Refused(format!("the run is without `--enforce-actions {}`", request.action.name()));
        }
        if request.content != content.word || !content.rules.contains(&request.rule) {
            return Outcome::Refused(NO_SUCH_RULE.to_owned());
        }
        if content.is_on_trial {
            return Outcome::Audited("its pack is on trial");
        }
        match request.action {
            request::Demand::Kill => self.kill(request),
            request::Demand::DenyNext => match deny::wanted(request, &self.judge()) {
                Ok(wanted) => deny(wanted),
                Err(outcome) => outcome,
            },
        }
    }

    /// Looked up anew each time: an upgrade gives a program another identity.
    fn judge(&self) -> Judge {
        Judge::of_this_machine(self.loader.as_deref(), Locks::at(&self.package_locks))
    }

    /// What became of those that wait. What other content has asked for is nobody's wish any more.
    fn look_at_waiting(&mut self, content: InForce<'_>) -> Vec<Event> {
        if self.waiting.is_empty() || self.looked.elapsed() < WAITING_LOOK {
            return Vec::new();
        }
        self.looked = Instant::now();
        let judge = self.judge();
        let mut told = Vec::new();
        for (request, target) in std::mem::take(&mut self.waiting) {
            let outcome = match target.anew() {
                Err(outcome) => outcome,
                Ok(_) if request.content != content.word => Outcome::Refused(NO_SUCH_RULE.to_owned()),
                Ok(target) => self.kill_if(&judge, &request, target),
            };
            if !matches!(outcome, Outcome::Waits(_)) {
                told.push(event(&request, &outcome));
            }
        }
        told
    }

    fn kill(&mut self, request: &Request) -> Outcome {
        let of = (request.pid, request.start_ns);
        if self.killed.contains(&of) {
            return Outcome::Gone;
        }
        match Target::open(request.pid, request.start_ns) {
            Ok(target) => self.kill_if(&self.judge(), request, target),
            Err(outcome) => outcome,
        }
    }

    /// Kills it, lets it wait, or says why not.
    fn kill_if(&mut self, judge: &Judge, request: &Request, target: Target) -> Outcome {
        match judge.refusal(target.seen()) {
            None => {}
            Some(Refusal::Never(why)) => return Outcome::Refused(why.to_owned()),
            Some(Refusal::While(holder)) => {
                let is_there = self.waiting.iter().any(|(_, waits)| waits.seen().pid == target.seen().pid);
                if !is_there && self.waiting.len() >= WAITING_MAX {
                    return Outcome::Refused(format!(
                        "process {holder} changes the package database above it, and too many wait for such"
                    ));
                }
                if !is_there {
                    self.waiting.push_back((request.clone(), target));
                }
                return Outcome::Waits(holder);
            }
        }
        if !self.rate.has_room(Instant::now()) {
            if self.rate.is_first_refusal() {
                crate::say!(
                    "watertight: rules have had {} processes killed within a minute: until it is over they are only told; is a \
                     rule wrong? `--enforce-actions` without kill, or `content forget`, ends it",
                    rate::KILLS_A_MINUTE_MAX
                );
            }
            return Outcome::Audited("as many processes as may be were killed within a minute");
        }
        let outcome = target.kill();
        if outcome == Outcome::Done {
            self.rate.note(Instant::now());
            self.killed.push_back((request.pid, request.start_ns));
            self.killed.drain(..self.killed.len().saturating_sub(rate::KILLS_A_MINUTE_MAX));
        }
        outcome
    }
}

fn event(request: &Request, outcome: &Outcome) -> Event {
    let message = format!(
        "{} demanded by rule {} on process {} ({}): {}",
        request.action.name(),
        request.rule,
        request.pid,
        request.executable,
        outcome.words()
    );
    Event::new(Kind::ResponseAction, outcome.of_event(), Source::Sensor, boot_ns_now())
        .with(Field::Of, request.action.name())
        .with(Field::ContentRule, request.rule.as_str())
        .with(Field::TargetPid, u64::from(request.pid))
        .with(Field::TargetExecutable, request.executable.as_str())
        .with(Field::Message, message.as_str())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::request::Demand;
    use super::*;

    const RULE: &str = "r";

    /// A process of ours that sleeps, and what a detector would know of it.
    fn sleeper() -> (Child, Request) {
        let child = Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep starts");
        let request = of(child.id(), Demand::Kill);
        (child, request)
    }

    fn of(pid: u32, action: Demand) -> Request {
        let start_ns = kill::Seen::read(pid).expect("it is there").start_ns();
        let executable = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let executable = executable.to_string_lossy().into_owned();
        Request { content: 7, rule: RULE.to_owned(), action, pid, start_ns, executable, ..Request::default() }
    }

    fn act(actor: &mut Actor, request: &Request, is_on_trial: bool) -> Outcome {
        let rules = [RULE.to_owned()];
        actor.act(request, InForce { word: 7, rules: &rules, is_on_trial }, &mut |_| Outcome::Asked)
    }

    fn actor(actions: &[Action]) -> Actor {
        Actor::new(actions, None)
    }

    #[test]
    fn a_real_process_is_killed_and_the_second_request_finds_it_gone() {
        let (mut child, request) = sleeper();
        let mut actor = actor(&[Action::Kill]);
        assert_eq!(act(&mut actor, &request, false), Outcome::Done);
        assert_eq!(act(&mut actor, &request, false), Outcome::Gone, "one that is on its way out is not killed again");
        assert!(!child.wait().expect("our child").success());
        assert_eq!(act(&mut actor, &request, false), Outcome::Gone);
    }

    #[test]
    fn nothing_is_killed_that_the_owner_the_trial_or_the_content_does_not_allow() {
        let (mut child, request) = sleeper();
        let refused = |outcome: Outcome, words: &str| assert!(outcome.words().contains(words), "{outcome:?}");
        refused(act(&mut actor(&[Action::DenyNext]), &request, false), "--enforce-actions kill");
        let mut killer = actor(&[Action::Kill]);
        refused(act(&mut killer, &request, true), "on trial");
        refused(act(&mut killer, &Request { content: 8, ..request.clone() }, false), "no such rule");
        refused(act(&mut killer, &Request { rule: "other".into(), ..request.clone() }, false), "no such rule");
        let started = request.start_ns.saturating_add(10_000_000_000);
        assert_eq!(act(&mut killer, &Request { start_ns: started, ..request.clone() }, false), Outcome::Gone);
        assert_eq!(child.try_wait().expect("our child"), None, "it lives");
        child.kill().and_then(|()| child.wait()).expect("our child");
    }

    #[test]
    fn process_1_and_ourselves_are_never_killed() {
        let mut actor = actor(&[Action::Kill]);
        for pid in [1, std::process::id()] {
            assert!(matches!(act(&mut actor, &of(pid, Demand::Kill), false), Outcome::Refused(_)), "{pid}");
        }
    }

    #[test]
    fn what_a_package_transaction_has_started_is_killed_once_it_is_left_behind_and_not_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = folder.path().join("lock");
        let pid_file = folder.path().join("pid");
        // As package managers do, it keeps the lock from what it starts.
        let script = format!(
            "exec 9>{}; sleep 600 9>&- & echo $! > {1}.new; mv {1}.new {1}; wait",
            lock.display(),
            pid_file.display()
        );
        let mut manager = Command::new("/bin/sh");
        let mut manager = manager.args(["-c", &script]).stdin(Stdio::null()).spawn().expect("a shell");
        let pid: u32 = loop {
            match std::fs::read_to_string(&pid_file) {
                Ok(pid) => break pid.trim().parse().expect("a pid"),
                Err(_) => std::thread::yield_now(),
            }
        };
        let mut actor = actor(&[Action::Kill]);
        actor.package_locks = vec![lock];
        let request = of(pid, Demand::Kill);
        for _ in 0..2 {
            assert_eq!(act(&mut actor, &request, false), Outcome::Waits(manager.id()));
        }
        let (requests, _asker) = request::channel().expect("descriptors");
        let rules = [RULE.to_owned()];
        let told = |actor: &mut Actor| {
            std::thread::sleep(WAITING_LOOK);
            actor.look(&requests, InForce { word: 7, rules: &rules, is_on_trial: false }, &mut |_| Outcome::Asked)
        };
        assert_eq!(told(&mut actor), Vec::new(), "it waits and is told once");
        manager.kill().and_then(|()| manager.wait()).expect("our child");
        let events = told(&mut actor);
        let words = events.iter().map(|event| event.to_json()["message"].to_string()).collect::<String>();
        assert!(events.len() == 1 && words.contains(": done"), "{words}");
        assert_eq!(told(&mut actor), Vec::new());
    }

    #[test]
    fn a_rule_that_fires_on_everything_kills_no_more_than_a_few() {
        let mut actor = actor(&[Action::Kill]);
        let sleepers: Vec<_> = (0..=rate::KILLS_A_MINUTE_MAX).map(|_| sleeper()).collect();
        let outcomes: Vec<Outcome> = sleepers.iter().map(|(_, request)| act(&mut actor, request, false)).collect();
        let done = outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count();
        assert_eq!(done, rate::KILLS_A_MINUTE_MAX);
        assert!(matches!(outcomes.last(), Some(Outcome::Audited(_))));
        for (mut child, _) in sleepers {
            child.kill().and_then(|()| child.wait()).expect("our child");
        }
    }
}
