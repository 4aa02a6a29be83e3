//! Puts the agent's own deny rules in force: those of the content pack, and executables that are not to start again.
//!
//! What is wanted is compared with what the kernel has (`plan` makes the one, the loader reads the other). Where they differ the
//! loader publishes a new generation, on trial: it is confirmed only once the detector has gone on with its work under it, and
//! without that the kernel goes back by itself. The loader's work is waited for by a thread of its own: the workers are looked
//! after meanwhile.

mod next;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod word;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use watertight_event::{Event, Kind};
use watertight_policy::{Owned, Owner, Policy, Rule, VERSION};

use self::next::Next;
use self::plan::{Plan, Standing};
use self::word::{Progress, Release, Word};
use crate::actions::{Outcome, Wanted};
use crate::guard::{Applied, GuardError, Shown, ShownRule, State};
use crate::loader::Loader;
use crate::output::{boot_ns_now, sensor_event};
use crate::printable::printable;

/// How long the kernel waits for a confirmation. A start under emulation takes seconds; a machine on which nothing works any more
/// works again after this.
const CONFIRM_WITHIN_S: u64 = 30;
/// How long the detector must have worked under new rules before they are confirmed.
const LIVES_MIN: Duration = Duration::from_secs(1);
/// How often rules that could not be put in force are tried again, and how long is waited before.
const TRIES_MAX: u8 = 4;
const AGAIN_AFTER: Duration = Duration::from_secs(20);

/// What content says of what is denied.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// How far it is trusted.
    pub standing: Standing,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// What it is.
    pub release: Option<Release>,
}

/// Where the wanted rules stand.
enum Stage {
    /// The kernel has them, or they can't be put in force.
    Settled,
    /// They differ from what the kernel has.
    Due { not_before: Instant },
    /// The loader publishes these.
    Publishing { work: JoinHandle<Result<Published, Failure>> },
    /// In force until the deadline.
    Trial { rules: Owned, generation: u64, since: Instant, progress: Option<u64> },
    /// The loader confirms them.
    Confirming { rules: Owned, work: JoinHandle<Result<Shown, Failure>> },
}

/// What the loader has taken.
struct Published {
    applied: Applied,
    rules: Owned,
    /// Executables that it does not deny, and why.
    left_out: Vec<(String, String)>,
}

/// Why rules did not come into force.
enum Failure {
    /// `policy unseal` took everything away.
    Unsealed,
    Refused(GuardError),
    /// The thread is gone.
    Panicked,
}

/// The agent's deny rules of one run.
pub struct Publisher {
    /// Who puts them in force; or why nobody can.
    loader: Result<Loader, String>,
    state: PathBuf,
    offer: Offer,
    /// Rules of packs that were trusted.
    proven: Vec<Rule>,
    /// Executables that are not to start again.
    next: Next,
    /// What the kernel has, as far as this run knows.
    settled: Owned,
    wanted: Owned,
    stage: Stage,
    tries: u8,
    /// It was tried often enough.
    is_final: bool,
    word: Word,
}

impl Publisher {
    /// `loader` puts rules in force, or says why there are none; `shown` is what the kernel has at the start.
    #[must_use]
    pub fn new(loader: Result<Loader, String>, shown: &Shown, state: &Path, trial: Duration) -> Self {
        let of = |owner: Owner| -> Vec<Rule> {
            let rules = shown.rules.iter().filter(|rule| Owner::of(&rule.id) == owner);
            rules.map(|rule| rule_of(owner, rule)).collect()
        };
        let next = Next::of(shown, Word::read(state).as_ref());
        let settled = Owned { pack: of(Owner::Pack), trial: of(Owner::Trial), next: of(Owner::Next) };
        let word = Word { run: std::process::id(), trial_s: trial.as_secs(), ..Word::default() };
        let mut publisher = Self {
            loader,
            state: state.to_owned(),
            offer: Offer::default(),
            proven: settled.pack.clone(),
            next,
            wanted: settled.clone(),
            settled,
            stage: Stage::Settled,
            tries: 0,
            is_final: false,
            word,
        };
        publisher.word.generation = shown.generation;
        publisher
    }

    /// Whether no rule of a pack has ever proved itself here, as far as the kernel knows.
    #[must_use]
    pub fn knows_no_rules(&self) -> bool {
        self.proven.is_empty()
    }

    /// Rules that proved themselves before this boot.
    pub fn prove(&mut self, policy: Policy) {
        self.proven = policy.rules;
    }

    /// This content is in force from here on, or is trusted from here on. Gives what is to be told.
    pub fn offer(&mut self, offer: Offer) -> Vec<Event> {
        self.offer = offer;
        let Plan { pack, trial } = Plan::of(self.offer.standing, &self.offer.rules, &self.proven);
        if self.offer.standing == Standing::Trusted {
            self.proven.clone_from(&pack);
        }
        self.want(Owned { pack, trial, next: self.next.rules().to_vec() })
    }

    /// Has an executable not started again. What becomes of it is told once the loader has answered.
    pub fn deny(&mut self, wanted: Wanted) -> Outcome {
        if let Err(why) = &self.loader {
            return Outcome::Refused(format!("nothing can be denied: {why}"));
        }
        if self.is_final {
            return Outcome::Refused(format!("nothing can be denied: {}", self.word.why));
        }
        let Wanted { deny, path, rule } = wanted;
        let is_known = self.settled.next.contains(&deny);
        if let Err(why) = self.next.add(deny, path.to_string_lossy().into_owned(), rule) {
            return Outcome::Refused(why);
        }
        let told = self.want(Owned { next: self.next.rules().to_vec(), ..self.wanted.clone() });
        debug_assert!(told.is_empty(), "only without a loader is anything told here");
        if is_known {
            Outcome::Done
        } else {
            Outcome::Asked
        }
    }

    /// Goes on with what is to be done. `progress` is the detector's beat while it works with the content in force.
    pub fn look(&mut self, progress: Option<u64>) -> Vec<Event> {
        let now_ns = boot_ns_now();
        if self.next.is_due(now_ns) {
            self.next.remove(|denied| denied.until_boot_ns <= now_ns);
            let _ = self.want(Owned { next: self.next.rules().to_vec(), ..self.wanted.clone() });
            // tells nothing: a loader is there
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Settled);
        let (stage, told) = match stage {
            Stage::Due { not_before } if Instant::now() >= not_before => (self.publish(), None),
            Stage::Publishing { work } if work.is_finished() => match joined(work) {
                Ok(published) => self.published(published, progress),
                Err(failure) => self.failed(&failure),
            },
            Stage::Trial { rules, generation, since, progress: before } => {
                self.on_trial(rules, generation, since, (before, progress))
            }
            Stage::Confirming { rules, work } if work.is_finished() => match joined(work) {
                Ok(shown) => self.settle(rules, shown.generation),
                Err(failure) => self.failed(&failure),
            },
            other => (other, None),
        };
        self.stage = stage;
        told.into_iter().collect()
    }

    /// Waits for what the loader does at this moment. What is on trial goes back by itself.
    pub fn finish(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Publishing { work } => drop(joined(work)),
            Stage::Confirming { work, .. } => drop(joined(work)),
            Stage::Settled | Stage::Due { .. } | Stage::Trial { .. } => {}
        }
    }

    /// Whether rules that are wanted are not in force.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.word.is_short()
    }

    /// Makes these the wanted rules.
    fn want(&mut self, wanted: Owned) -> Vec<Event> {
        let is_new = wanted != self.wanted;
        self.wanted = wanted;
        if let Err(why) = &self.loader {
            let why = why.clone();
            return self.say_refused(&why).into_iter().collect();
        }
        if is_new {
            self.tries = 0;
            self.is_final = false;
        }
        match &self.stage {
            Stage::Settled if self.is_settled() => self.say_word(self.at_rest(), "", self.word.generation),
            // It was said that they are not in force, and nothing has changed since.
            Stage::Settled if self.is_final => {}
            Stage::Settled | Stage::Due { .. } => {
                self.stage = Stage::Due { not_before: Instant::now() };
                self.say_word(Progress::Coming, "", self.word.generation);
            }
            // Looked at again when that has ended.
            Stage::Publishing { .. } | Stage::Trial { .. } | Stage::Confirming { .. } => {}
        }
        Vec::new()
    }

    fn publish(&mut self) -> Stage {
        if self.is_settled() {
            self.say_word(self.at_rest(), "", self.word.generation);
            return Stage::Settled;
        }
        let Ok(loader) = &self.loader else { return Stage::Settled };
        self.tries = self.tries.saturating_add(1);
        let (loader, rules) = (loader.clone(), self.wanted.clone());
        let known = self.settled.next.clone();
        Stage::Publishing { work: std::thread::spawn(move || publish(&loader, rules, &known)) }
    }

    /// The loader has answered: what it left out is told.
    fn published(&mut self, published: Published, progress: Option<u64>) -> (Stage, Option<Event>) {
        let Published { applied, rules, left_out } = published;
        let told = (!left_out.is_empty()).then(|| {
            let words: Vec<String> =
                left_out.iter().map(|(path, why)| format!("{path} is not denied: {why}")).collect();
            self.told(&words.join("; "))
        });
        self.next.remove(|denied| left_out.iter().any(|(path, _)| *path == denied.path));
        self.wanted.next = self.next.rules().to_vec();
        let generation = applied.generation;
        if applied.state != State::Trial {
            let (stage, settled) = self.settle(rules, generation);
            return (stage, told.or(settled));
        }
        self.say_word(Progress::OnTrial, "", generation);
        (Stage::Trial { rules, generation, since: Instant::now(), progress }, told)
    }

    /// Confirms once the detector has gone on with its work, unless other rules are wanted by now.
    fn on_trial(
        &mut self,
        rules: Owned,
        generation: u64,
        since: Instant,
        (before, progress): (Option<u64>, Option<u64>),
    ) -> (Stage, Option<Event>) {
        let is_over = since.elapsed() > Duration::from_secs(CONFIRM_WITHIN_S.saturating_add(1));
        let lives = progress.is_some() && progress != before && since.elapsed() >= LIVES_MIN;
        match &self.loader {
            // More executables are published next; rules of other content are not confirmed by what runs now.
            Ok(loader) if lives && self.is_same_content(&rules) && !is_over => {
                let loader = loader.clone();
                let work = std::thread::spawn(move || loader.guard_confirm(generation).map_err(Failure::Refused));
                (Stage::Confirming { rules, work }, None)
            }
            _ if is_over => {
                let what = "was not confirmed, because no detector worked under it or other content came";
                let event = self.told(&format!("generation {generation} {what}: the kernel went back"));
                (Stage::Due { not_before: Instant::now() }, Some(event))
            }
            _ => (Stage::Trial { rules, generation, since, progress: before }, None),
        }
    }

    /// The kernel has these.
    fn settle(&mut self, rules: Owned, generation: u64) -> (Stage, Option<Event>) {
        self.settled = rules;
        self.word.generation = generation;
        if !self.is_settled() {
            return (Stage::Due { not_before: Instant::now() }, None);
        }
        self.say_word(self.at_rest(), "", generation);
        let Owned { pack, trial, next } = &self.settled;
        let message = format!(
            "deny rules of packs in force as generation {generation}: {} as declared, {} in audit until their pack is trusted; \
             executables not started again: {}",
            pack.len(),
            trial.len(),
            next.len()
        );
        (Stage::Settled, Some(self.told(&message)))
    }

    fn failed(&mut self, failure: &Failure) -> (Stage, Option<Event>) {
        let (why, is_final) = match failure {
            Failure::Unsealed => {
                let next = "the next start of `watertight run` puts them in force again";
                self.settled = Owned::default();
                (format!("`policy unseal` took policy and guard away; {next}"), true)
            }
            Failure::Refused(error @ GuardError::NoBpfLsm(_)) => (error.to_string(), true),
            Failure::Refused(error) => (error.to_string(), self.tries >= TRIES_MAX),
            Failure::Panicked => ("the thread that waits for the loader ended".to_owned(), self.tries >= TRIES_MAX),
        };
        self.is_final = is_final;
        let event = self.say_refused(&why);
        let stage = match is_final {
            true => Stage::Settled,
            false => Stage::Due { not_before: Instant::now() + AGAIN_AFTER },
        };
        (stage, event)
    }

    fn is_settled(&self) -> bool {
        self.settled == self.wanted
    }

    fn is_same_content(&self, rules: &Owned) -> bool {
        (&rules.pack, &rules.trial) == (&self.wanted.pack, &self.wanted.trial)
    }

    fn at_rest(&self) -> Progress {
        if self.wanted == Owned::default() {
            Progress::None
        } else {
            Progress::InForce
        }
    }

    /// That rules are not in force is said aloud, once for each reason and content.
    fn say_refused(&mut self, why: &str) -> Option<Event> {
        if self.wanted == Owned::default() && self.settled == Owned::default() {
            self.say_word(Progress::None, "", 0);
            return None;
        }
        let before = (self.word.progress, self.word.why.clone(), self.word.from.clone());
        self.say_word(Progress::NotInForce, why, self.word.generation);
        if before == (self.word.progress, self.word.why.clone(), self.word.from.clone()) {
            return None;
        }
        let count = self.wanted.labelled().len();
        let message = format!("the policy of the content pack ({count} rules) is not in force: {why}");
        crate::say!("watertight: {}", printable(&message));
        Some(self.told(&message))
    }

    fn told(&self, message: &str) -> Event {
        let from = self.offer.release.as_ref();
        let from =
            from.map_or_else(String::new, |from| format!(" ({} {} version {})", from.slot, from.name, from.version));
        sensor_event(Kind::SensorMode, "policy", &format!("{message}{from}"))
    }

    /// For `status`; without the file that says that it does not know.
    fn say_word(&mut self, progress: Progress, why: &str, generation: u64) {
        self.word.progress = progress;
        why.clone_into(&mut self.word.why);
        self.word.generation = generation;
        self.word.from.clone_from(&self.offer.release);
        self.word.rules = self.wanted.pack.len();
        self.word.next = self.next.denied().to_vec();
        self.word.audit = self.wanted.trial.iter().map(|rule| rule.id.clone()).collect();
        let _ = self.word.leave(&self.state);
    }
}

/// Whatever ends a run, what the loader was told to do is done before the guard is let go.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.finish();
    }
}

/// An executable that the machine needs is left out; the rules of packs are not asked about one by one, because a pack is taken whole.
fn publish(loader: &Loader, mut rules: Owned, known: &[Rule]) -> Result<Published, Failure> {
    // A run has put a guard in force: who took it away wants nothing to be denied.
    if loader.guard_show().map_err(Failure::Refused)?.state == State::None {
        return Err(Failure::Unsealed);
    }
    let mut left_out = Vec::new();
    for rule in rules.next.clone().into_iter().filter(|rule| !known.contains(rule)) {
        let alone = Policy { version: VERSION, fallback_deny: false, rules: vec![rule.clone()] };
        if let Err(GuardError::Refused(why)) = loader.guard_check(&alone) {
            rules.next.retain(|other| other.id != rule.id);
            left_out.push((rule.target.to_string(), why));
        }
    }
    let applied = loader.guard_publish(&rules, CONFIRM_WITHIN_S).map_err(Failure::Refused)?;
    Ok(Published { applied, rules, left_out })
}

fn joined<T>(work: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    work.join().unwrap_or(Err(Failure::Panicked))
}

fn rule_of(owner: Owner, shown: &ShownRule) -> Rule {
    Rule {
        id: owner.bare(&shown.id).to_owned(),
        action: watertight_policy::Action::Deny,
        on: shown.on.clone(),
        target: shown.target.clone(),
        mode: shown.mode,
    }
}
