//! Checks in, fetches when there is something new, sends what is spooled, and waits at the doorbell.
//!
//! Four threads that share little: the connection, the newest generation, a bell. The check-in is what counts: nothing holds it up. The
//! doorbell and a fetch that has ended only make the next one earlier, and records wait on disk for as long as it takes.

mod beside;
mod losses;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use watertight_fleet_wire::checkin::{HostPart, Leave, LeaveAnswer, State};
use watertight_fleet_wire::records::{pack, RecordsAnswer, Stream};
use watertight_fleet_wire::{CheckInAnswer, Code, WaitAnswer};

use self::beside::Beside;
use self::losses::Losses;
use self::watch::Watch;
use crate::clock::now_ms;
use crate::crew::Crew;
use crate::exchange::{Exchange, Failure};
use crate::folder::{Folder, FolderError};
use crate::identity::{IdentityError, Own};
use crate::machine::{boot_id, plain, Asker, Fetched, Fetcher, Machine};
use crate::pace::{after_answer, rest, BackOff, WAIT_MS_MIN};
use crate::report::Reporter;
use crate::spool;

const ACTED: &str = "acted.json";
/// A host's turn may come without a new generation, by the hours that a release is signed with.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How often the spool is looked at.
const SPOOL_EVERY: Duration = Duration::from_secs(1);
/// A server holds the doorbell for minutes before it says that there is no news.
const NO_NEWS_MIN: Duration = Duration::from_secs(5);
/// Threads of a service beside the one that checks in.
pub const THREADS: usize = 3;
/// Crashes first: they are few, and the gate waits for them.
const STREAMS: [Stream; 3] = [Stream::Crash, Stream::Health, Stream::Alert];

/// Where the agent's words go.
pub type Say = fn(&str);

/// What the agent is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub url: String,
    /// Whom to trust as the server until the first identity says so.
    pub ca_pem: String,
    /// To enrol with, where there is no identity yet.
    pub token: Option<String>,
    /// What the host is.
    pub host: HostPart,
    /// Hosts like it, where it is not told by the above.
    pub stratum: Option<String>,
    /// The agent's state folder.
    pub state: Folder,
    /// Where words go.
    pub say: Say,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    exchange: RwLock<Arc<Exchange>>,
    /// The newest generation that the server spoke of.
    heard: AtomicU64,
}

impl Shared {
    fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.exchange.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An agent that has an identity.
#[derive(Debug)]
pub struct Service {
    options: Options,
    own: Own,
    shared: Arc<Shared>,
    ring: Sender<()>,
    rings: Receiver<()>,
    beside: Beside,
    reporter: Reporter,
    watch: Watch,
    /// The generation that was acted on.
    acted: u64,
    /// The one that was looked at while new content was paused: for what is recalled.
    acted_paused: u64,
    looked: Option<Instant>,
    /// Why the director's document was refused when it was looked at last; empty if it was not.
    director_refused: String,
    fetch_back_off: BackOff,
    not_before: Option<Instant>,
    back_off: BackOff,
}

/// The identity that there is, or one for the token. One attempt.
///
/// # Errors
/// The server refuses, nobody answers, or it can't be kept.
pub fn identity(options: &Options) -> Result<Own, IdentityError> {
    if let Some(own) = Own::read(&options.state)? {
        return Ok(own);
    }
    let why = "this host is not enrolled: name a token with --token-file (`watertight server token` makes one)";
    let token = options.token.as_deref().ok_or_else(|| Failure::Named(why.into()))?;
    Own::enrol(&options.state, &options.url, &options.ca_pem, token, &options.host)
}

/// Says that this machine goes down: one attempt, within seconds, because nobody waits for it then. The log has what the fleet makes of it.
///
/// # Errors
/// There is no identity, or the server was not told.
pub fn leave(options: &Options, is_reboot: bool) -> Result<(), IdentityError> {
    let own = Own::read(&options.state)?.ok_or_else(|| Failure::Named("this host is not enrolled".into()))?;
    let exchange = own.exchange(&options.url)?;
    let answer: LeaveAnswer = exchange.post("/v1/agent/leave", &Leave { boot: boot_id(), is_reboot })?;
    (options.say)(&left(answer.back_within_ms));
    Ok(())
}

/// What the fleet makes of a host that goes down.
fn left(back_within_ms: u64) -> String {
    match back_within_ms {
        0 => "the fleet knows that this host goes down, and does not wait for it".to_owned(),
        ms => {
            format!("the fleet knows that this host goes down, and expects it back within {} min", ms.div_ceil(60_000))
        }
    }
}

/// Runs until the process is ended. The crew has [`THREADS`] that are idle.
///
/// # Errors
/// There is no identity and the server gives none, or the state folder is damaged: nothing that time mends.
pub fn run(
    options: &Options,
    machine: &mut dyn Machine,
    fetcher: Box<dyn Fetcher>,
    mut crew: Crew,
) -> Result<(), IdentityError> {
    let (mut back_off, (_silent, nothing)) = (BackOff::default(), channel());
    let own = loop {
        match identity(options) {
            Ok(own) => break own,
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                (options.say)(&format!("not enrolled yet: {error}"));
                rest(&nothing, back_off.failed(error.retry_after_ms()));
            }
        }
    };
    let mut service = Service::new(options.clone(), own, fetcher, &mut crew)?;
    let (shared, ring) = (Arc::clone(&service.shared), service.ring.clone());
    crew.give(move || doorbell(&shared, &ring)).map_err(no_thread)?;
    let (shared, spool, say) = (Arc::clone(&service.shared), service.spool()?, options.say);
    crew.give(move || uplink(&shared, &spool, say)).map_err(no_thread)?;
    loop {
        let wait = service.turn(machine);
        service.wait(wait);
    }
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::Named(error.to_string())
}

impl Service {
    /// With an identity. One of the crew fetches for it.
    ///
    /// # Errors
    /// The state folder is damaged, or no thread is idle.
    pub fn new(options: Options, own: Own, fetcher: Box<dyn Fetcher>, crew: &mut Crew) -> Result<Self, IdentityError> {
        let shared = Shared { exchange: RwLock::new(Arc::new(own.exchange(&options.url)?)), heard: AtomicU64::new(0) };
        let reporter = Reporter::new(options.state.clone())?;
        let acted = options.state.read_json(ACTED)?.unwrap_or(0);
        let watch = Watch::read(&options.state)?;
        let (ring, rings) = channel();
        let beside = Beside::start(fetcher, ring.clone(), crew).map_err(no_thread)?;
        Ok(Self {
            options,
            own,
            shared: Arc::new(shared),
            ring,
            rings,
            beside,
            reporter,
            watch,
            acted,
            acted_paused: 0,
            looked: None,
            director_refused: String::new(),
            fetch_back_off: BackOff::default(),
            not_before: None,
            back_off: BackOff::default(),
        })
    }

    /// Where records wait.
    ///
    /// # Errors
    /// It can't be made.
    pub fn spool(&self) -> Result<Folder, FolderError> {
        self.options.state.folder("spool")
    }

    /// Who this is.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Until the time is over or it rings: the server has news, or a fetch has ended.
    pub fn wait(&self, longest: Duration) {
        rest(&self.rings, longest);
        while self.rings.try_recv().is_ok() {} // several are one
    }

    /// One check-in and what follows from it. Gives how long to wait for the next.
    pub fn turn(&mut self, machine: &mut dyn Machine) -> Duration {
        let is_news = self.take_up();
        let mut content = machine.content();
        content.director_refused.clone_from(&self.director_refused);
        let is_paused = content.is_paused;
        self.note(&content, machine);
        let state = State {
            host: Some(self.options.host.clone()),
            content: Some(content),
            protection: Some(machine.protection()),
        };
        match self.check_in(state) {
            Ok(answer) => {
                self.back_off.succeeded();
                self.shared.heard.store(answer.generation, Relaxed);
                if answer.renew {
                    self.renew();
                }
                self.act(answer.generation, is_paused);
                if is_news || answer.need_full_state {
                    return Duration::from_millis(WAIT_MS_MIN);
                }
                after_answer(answer.interval_ms, answer.jitter_ms)
            }
            Err(error) => {
                (self.options.say)(&format!("no check-in: {error}"));
                if error.code() == Some(Code::Expired) && self.renew() {
                    return Duration::from_millis(WAIT_MS_MIN);
                }
                self.back_off.failed(error.retry_after_ms())
            }
        }
    }

    fn check_in(&mut self, state: State) -> Result<CheckInAnswer, Failure> {
        let told = self.reporter.next(&state, self.acted).map_err(|error| Failure::Named(error.to_string()))?;
        let answer: CheckInAnswer = self.shared.exchange().post("/v1/agent/checkin", &told)?;
        self.reporter.told(state, &answer);
        Ok(answer)
    }

    fn renew(&mut self) -> bool {
        let exchange = self.shared.exchange();
        let renewed = self.own.renew(&self.options.state, &exchange).and_then(|own| {
            let exchange = own.exchange(&self.options.url)?;
            Ok((own, exchange))
        });
        match renewed {
            Ok((own, exchange)) => {
                self.own = own;
                *self.shared.exchange.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(exchange);
                true
            }
            Err(error) => {
                (self.options.say)(&format!("the certificate is not renewed: {error}"));
                false
            }
        }
    }

    /// Begins to look at the repository where there is something new or the host's turn may have come. A fetch that is under way is not
    /// disturbed: what is new since it began is looked at after it.
    fn act(&mut self, generation: u64, is_paused: bool) {
        let is_new = generation != self.acted && !(is_paused && generation == self.acted_paused);
        let is_time = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN);
        let is_too_early = self.not_before.is_some_and(|moment| Instant::now() < moment);
        if !(is_new || is_time) || is_too_early {
            return;
        }
        let kept = &self.own.identity;
        let like_it = self.options.stratum.clone().unwrap_or_else(|| self.options.host.stratum(&kept.ring));
        self.beside.begin(generation, Asker { host: kept.host.clone(), ring: kept.ring.clone(), stratum: like_it });
    }

    /// What became of a fetch that has ended. Says whether content was installed.
    fn take_up(&mut self) -> bool {
        let Some((generation, fetched)) = self.beside.ended() else { return false };
        for (content, why) in &fetched.refused {
            (self.options.say)(&format!("content {content} is refused: {why}"));
        }
        if let Err(error) = self.watch.refused(&fetched.refused) {
            (self.options.say)(&format!("a refusal is not reported: {error}"));
        }
        self.keep_refusal(&fetched);
        let is_installed = !fetched.installed.is_empty();
        if let Some(why) = &fetched.failed {
            (self.options.say)(&format!("content is not fetched: {why}"));
            self.not_before = Instant::now().checked_add(self.fetch_back_off.failed(None));
            return is_installed;
        }
        self.fetch_back_off.succeeded();
        (self.not_before, self.looked) = (None, Some(Instant::now()));
        if fetched.is_paused {
            self.acted_paused = generation;
        } else {
            self.acted = generation;
            if let Err(error) = self.options.state.write_json(ACTED, &generation) {
                (self.options.say)(&format!("{error}: after a restart this generation is fetched again"));
            }
        }
        is_installed
    }

    /// Keeps why the director's document is refused, for the check-in.
    fn keep_refusal(&mut self, fetched: &Fetched) {
        match (&fetched.director_refused, &fetched.failed) {
            (Some(why), _) => self.director_refused = plain(why),
            (None, None) => self.director_refused.clear(),
            (None, Some(_)) => {} // nothing was heard of it
        }
    }

    fn note(&mut self, content: &watertight_fleet_wire::checkin::ContentPart, machine: &mut dyn Machine) {
        let unended = machine.unended();
        if let Err(error) = self.watch.saw(content, &unended, now_ms(), &mut |id| machine.quarantined(id)) {
            (self.options.say)(&format!("what became of content is not reported: {error}"));
        }
    }

    /// Sends all that is spooled. Gives how many records were acknowledged.
    ///
    /// # Errors
    /// The server did not take them; they stay.
    pub fn send(&self) -> Result<usize, Failure> {
        let spool = self.spool().map_err(|error| Failure::Named(error.to_string()))?;
        let mut losses = Losses::read(&spool, self.options.say);
        send(&self.shared.exchange(), &spool, &mut losses, self.options.say)
    }
}

fn send(exchange: &Exchange, spool: &Folder, losses: &mut Losses, say: Say) -> Result<usize, Failure> {
    let named = |error: FolderError| Failure::Named(error.to_string());
    let (boot, mut sent) = (boot_id(), 0_usize);
    for stream in STREAMS {
        while let Some((name, batch)) = spool::oldest(spool, stream, &boot).map_err(named)? {
            let answer = match pack(&batch) {
                Ok(packed) => exchange.post_batch::<RecordsAnswer>("/v1/agent/records", &packed).map(|_| ()),
                Err(refused) => Err(Failure::Named(refused.to_string())),
            };
            match answer {
                Ok(()) => {
                    sent = sent.saturating_add(batch.records.len());
                    losses.sent(&batch);
                }
                // It would be refused for ever, and hold up all that comes after it.
                Err(error) if matches!(error, Failure::Named(_)) || is_of_form(&error) => {
                    say(&format!("{} records are given up: {error}", batch.records.len()));
                }
                Err(error) => return Err(error),
            }
            spool::done(spool, stream, &name).map_err(named)?;
        }
    }
    Ok(sent)
}

fn is_of_form(error: &Failure) -> bool {
    matches!(error.code(), Some(Code::Form | Code::TooLarge))
}

/// Sends what comes into the spool.
fn uplink(shared: &Shared, spool: &Folder, say: Say) {
    let (mut back_off, mut losses) = (BackOff::default(), Losses::read(spool, say));
    loop {
        let wait = match send(&shared.exchange(), spool, &mut losses, say) {
            Ok(_) => {
                back_off.succeeded();
                SPOOL_EVERY
            }
            // The check-in says why nobody answers; this says it no second time.
            Err(error) => back_off.failed(error.retry_after_ms()),
        };
        std::thread::sleep(wait);
    }
}

/// Waits for another generation than the newest that was heard of, and rings.
fn doorbell(shared: &Shared, ring: &Sender<()>) {
    let mut back_off = BackOff::default();
    loop {
        let heard = shared.heard.load(Relaxed);
        if heard == 0 {
            std::thread::sleep(SPOOL_EVERY); // no check-in went through yet
            continue;
        }
        let asked = Instant::now();
        match shared.exchange().wait::<WaitAnswer>(&format!("/v1/agent/wait?generation={heard}")) {
            // A server that says at once that there is no news, or something between that does, is not asked again and again.
            Ok(answer) if answer.generation == heard && asked.elapsed() < NO_NEWS_MIN => {
                std::thread::sleep(back_off.failed(None));
            }
            Ok(answer) => {
                back_off.succeeded();
                if answer.generation != heard {
                    // The check-in may have heard it meanwhile; one that did not hears it now.
                    let _ = shared.heard.compare_exchange(heard, answer.generation, Relaxed, Relaxed);
                    if ring.send(()).is_err() {
                        return;
                    }
                }
            }
            Err(error) => std::thread::sleep(back_off.failed(error.retry_after_ms())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn the_log_has_for_how_long_the_fleet_waits_for_a_host_that_goes_down() {
        assert!(left(0).ends_with("does not wait for it"));
        assert!(left(900_000).ends_with("expects it back within 15 min"));
        assert!(left(1).ends_with("within 1 min"), "never less than it is");
    }
}
