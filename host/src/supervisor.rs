//! The main flow of `watertight run`: lock, load, start anew, choose sources, start the workers, wait, stop, account.
//!
//! The supervisor is root and parses nothing but its own configuration and the loader's one line.

mod crashes;
mod crew;
mod detector;
pub mod dumps;
mod ending;
mod group;
mod guard;
mod hang;
mod ladder;
mod links;
mod pins;
pub(crate) mod process;
mod restarts;
mod sources;
mod work;

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context as _, Result};
use watertight_engine::Action;
use watertight_event::{Event, Field, Kind};

use self::crew::{Crew, Ship};
pub use self::ending::{catch_signals as catch_ending, is_asked as is_ending};
use self::guard::GuardMaps;
pub use self::ladder::factory;
use self::links::Links;
use self::pins::Pins;
use crate::deny::keeper::Keeper;
use crate::descriptors::keep_to_ourselves;
use crate::filter::Filter;
use crate::guard::{pinned_beside, Shown};
use crate::live::Saved;
use crate::loader::{load_or_clear, Loader};
use crate::lock::{LockError, RunLock, ALIVE};
use crate::matrix::{Found, Matrix, Mend, RECORDED};
use crate::output::sensor_event;
use crate::pressure::Pressure;
use crate::previous::Previous;
use crate::printable::{printable, printable_lines};
use crate::pstore;
use crate::publisher::Publisher;
use crate::resident;
use crate::resume;
use crate::say::not_written;
use crate::signals;
use crate::slots::Slots;
use crate::there::There;
use crate::triaged::triaged;
use crate::whole_lines::line_end;
use crate::worker::protocol::{Format, Message};

/// How often the supervisor looks after its workers and writes that it lives.
const BEAT: Duration = Duration::from_millis(100);
/// A program that began before its link was cut ends within one RCU grace period; this is far beyond one.
const GRACE: Duration = Duration::from_millis(100);

/// What `watertight run` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to run; until a signal if `None`.
    pub duration: Option<Duration>,
    /// How to write.
    pub format: Format,
    /// Colours are wanted.
    pub has_colour: bool,
    /// Standard output is a terminal that can show a live view.
    pub is_terminal: bool,
    /// Rule folders beside the shipped rules.
    pub rules: Vec<PathBuf>,
    /// The loader, if not beside our own executable.
    pub loader: Option<PathBuf>,
    /// Where things are pinned.
    pub pins: PathBuf,
    /// Folder for the lock and the heartbeat.
    pub state: PathBuf,
    /// Folder of the content slots.
    pub slots: PathBuf,
    /// How long new content has to live before it is trusted.
    pub trial: Duration,
    /// Actions that rules may have carried out.
    pub actions: Vec<Action>,
    /// File and network events that are not wanted.
    pub filters: Vec<Filter>,
    /// Load no guard: nothing is denied, but by a policy that is in force already.
    pub is_observing: bool,
    /// Standard input is a pipe that takes what is to be reported, beside the output.
    pub has_records: bool,
    /// A recording to take events from in place of this machine: nothing of it is watched, nothing denied.
    pub recording: Option<PathBuf>,
    /// Set after this process has started anew: where it left what it knew.
    pub resumed: Option<RawFd>,
}

/// Protects and watches this machine until it is told to stop. Returns the exit code: 0 protected as asked, 3 with a class or
/// the enforcement missing.
///
/// # Errors
/// Nothing could be watched, another run is at work, a worker was given up, or nobody takes the output.
pub fn run(options: &Options) -> Result<u8> {
    keep_to_ourselves().context("keeping what was open before from our workers")?;
    let loader = match &options.recording {
        Some(_) => Err(anyhow!("the kernel is left alone: {RECORDED}")),
        None => Loader::find(options.loader.as_deref(), &options.pins).map(Loader::sheltered),
    };
    let (_lock, found) = match options.resumed {
        _ if options.recording.is_some() => {
            let lock = RunLock::take(&options.state)?;
            signals::hold().context("holding signals back")?;
            (lock, Found { recording: options.recording.clone(), ..Found::default() })
        }
        Some(fd) => {
            let (mut lock, report, guard) = resume::resume(fd)?;
            // Not before: what is opened from here on goes without an event.
            lock.claim(&options.pins)?;
            (lock, Found { kernel: Some(report), guard: Some(guard), ..Found::default() })
        }
        None => load(options, loader.as_ref())?,
    };
    ending::end_after(options.duration); // should it not even come to a start
    ending::catch_signals()?;
    signals::accept().context("accepting signals")?;
    let found = Found { filters: options.filters.clone(), ..found };
    let is_guarded = matches!(found.guard, Some(Ok(_)));
    group::begin();
    dumps::keep_in(
        options.slots.with_file_name(dumps::FOLDER),
        found.kernel.as_ref().map(|kernel| kernel.build.as_str()),
    );
    let ended = watch(options, loader.as_ref().ok(), found);
    group::end();
    // Telemetry ends with the run, whatever ended it; the guard stays if it has a policy.
    if let (Ok(loader), true) = (&loader, rustix::process::geteuid().is_root()) {
        let unloaded = loader.unload().map_err(|error| format!("{error:#}"));
        let released = if is_guarded { loader.guard_release().map_err(|error| error.to_string()) } else { Ok(()) };
        for error in [unloaded, released].into_iter().filter_map(Result::err) {
            crate::say!("watertight: {}", printable(&error));
        }
    }
    ended
}

/// Locks and loads. Where programs were attached this does not return: the process starts anew, to be known by them.
fn load(options: &Options, loader: Result<&Loader, &anyhow::Error>) -> Result<(RunLock, Found)> {
    for filter in &options.filters {
        filter.check()?;
    }
    let lock = RunLock::take(&options.state)?;
    signals::hold().context("holding signals back")?;
    // Another run's programs are not to be touched; where nothing can be loaded, nobody is in the way.
    if let Some(holder) = RunLock::holder_of_pins(&options.pins) {
        return Err(LockError::Held { holder: holder.to_string() }.into());
    }
    let report = match load_or_clear(loader, &options.filters) {
        Ok(report) => report,
        Err(refused) => return Ok((lock, Found::without_kernel(refused))),
    };
    let guard = match loader {
        Ok(_) if options.is_observing && !pinned_beside(&options.pins).exists() => Err("left out by --observe".into()),
        Ok(loader) if report.has_lsm() => loader.guard_load().map_err(|error| error.to_string()),
        _ => Err(String::new()),
    };
    let (mut lock, error) = resume::start_anew(lock, &report, &guard);
    lock.claim(&options.pins)?;
    let error = printable(&format!("{error:#}"));
    crate::say!("watertight: our own file and network events are shown, because starting anew failed: {error}");
    Ok((lock, Found { kernel: Some(report), guard: Some(guard), ..Found::default() }))
}

fn watch(options: &Options, loader: Option<&Loader>, mut found: Found) -> Result<u8> {
    let pins = Pins::open(found.kernel.as_ref())?;
    let guard = open_guard(&mut found);
    let publisher = publisher(options, loader, &mut found);
    let mut pressure = match &found.kernel {
        Some(report) => Some(Pressure::open(&report.directory, &detector::boot_id())?),
        None => None,
    };
    let is_adopted = found.kernel.as_ref().is_some_and(|report| report.adopted);
    // After the programs are attached: who starts from here on is told by them.
    let (how, there) = There::read(loader, found.kernel.as_ref());
    let how = how.with_mend(&found.loader_mend);
    let _ = how.leave_word(&options.state); // without it `status` says that it does not know
    found.processes = how;
    let sources = sources::start(&mut found)?;
    // Of a policy that is kept for this machine a recording knows nothing.
    let is_denied_elsewhere = found.has_lsm() || found.recording.is_some();
    let mut keeper = Keeper::start(&options.state, loader.map(Loader::executable), is_denied_elsewhere);
    found.deny_by_fanotify = keeper.outcome();
    let has_denied = matches!(found.deny_by_fanotify, Some(Ok(_)));
    let matrix = found.matrix(&Mend::of_this_machine());
    show_matrix(&matrix, options.format)?;
    // Put back when this function is left, whatever became of the detector.
    let terminal = is_live(options).then(|| Saved::take().ok());
    let replaced = found.kernel.as_ref().and_then(|report| report.replaced.as_deref()).map(dropped);
    let previous = Previous::open(found.kernel.as_ref(), &detector::boot_id());
    let mut first: Vec<Event> = previous.events();
    let said: Vec<Event> = is_adopted.then(|| gap(&options.state)).into_iter().chain(replaced).collect();
    let ship = Ship {
        options,
        loader,
        pins: pins.as_ref(),
        guard: guard.as_ref(),
        previous: &previous,
        is_adopted,
        deny_pid: keeper.pid(),
    };
    first.extend(said);
    first.extend(earlier_crashes(options));
    let mut crew = Crew::start(ship, sources, there, first, publisher)?;
    // Their descriptors are held: the pins can go. The kernel may take seconds for that; nobody has to wait.
    let forgetting = loader.and_then(|loader| previous.forget(loader, found.kernel.as_ref()));
    let started = Instant::now();
    ending::end_after(options.duration);
    let mut links = Links::of(found.kernel.as_ref());
    let ended = wait(options, &mut crew, pressure.as_mut(), &mut links, &mut keeper);
    crew.tell_end();
    let is_denial_lost = has_denied && matches!(keeper.outcome(), Some(Err(_)));
    let denials = keeper.finish();
    if ended.is_err() {
        drop(terminal); // before anything is said about it
    }
    if let Some(forgetting) = forgetting {
        let _ = forgetting.join(); // it has said itself what failed
    }
    if let (Some(loader), true) = (loader, pins.is_some()) {
        loader.detach()?;
        std::thread::sleep(GRACE);
    }
    crew.stop_sources(ended.is_ok());
    ended?;
    crew.tell(denials)?;
    crew.tell_crashes()?;
    if let Some(pressure) = &mut pressure {
        crew.tell(pressure.finish()?)?;
    }
    let is_short = crew.is_short() || !links.is_whole() || is_denial_lost;
    let code = crew.finish(&kernel_account(pins.as_ref(), guard.as_ref(), started)?)?;
    Ok(if code == 0 && (!matrix.is_whole() || is_short) { 3 } else { code })
}

/// What kernels of earlier boots saved while they died.
fn earlier_crashes(options: &Options) -> Vec<Event> {
    if options.recording.is_some() {
        return Vec::new(); // they are this machine's
    }
    let kept = options.slots.with_file_name(pstore::KEPT);
    let mut crashes =
        pstore::pick_up(Path::new(pstore::FOLDER), &kept, &|file: &Path| triaged(file, pstore::TRIAGE_MAX));
    // The slots are as the crash left them: this run has not begun yet.
    if let Some(Ok(slots)) = (!crashes.is_empty()).then(|| Slots::at(&options.slots, factory()).state()) {
        let id = slots.at_work().to_string();
        crashes.iter_mut().for_each(|crash| crash.set(Field::ContentId, id.as_str()));
    }
    crashes
}

/// What the kernel has of deny rules, and who puts the content's in force; or why nobody does.
fn publisher(options: &Options, loader: Option<&Loader>, found: &mut Found) -> Publisher {
    let (loader, shown) = match (loader, &found.guard) {
        (Some(loader), Some(Ok(_))) => match loader.guard_show() {
            Ok(shown) => {
                found.policy = shown.in_words();
                (Ok(loader.clone()), shown)
            }
            Err(error) => {
                found.policy = format!("unknown ({error})");
                (Err(format!("what is in force is not known ({error})")), Shown::default())
            }
        },
        (_, Some(Err(why))) if !why.is_empty() => (Err(why.clone()), Shown::default()),
        _ => (Err("the kernel takes no guard: `watertight doctor` names the mend".to_owned()), Shown::default()),
    };
    Publisher::new(loader, &shown, &options.state, options.trial)
}

/// The kernel's half of the account: what its programs counted, now that they are at rest.
fn kernel_account(pins: Option<&Pins>, guard: Option<&GuardMaps>, started: Instant) -> Result<Message> {
    let (kernel, sequences) = match pins {
        Some(pins) => (pins.counters()?, pins.sequences()?),
        None => (Vec::new(), Vec::new()),
    };
    let (guard, is_guard_new) = match guard {
        Some(guard) => (guard.counters()?, guard.is_new),
        None => (Vec::new(), false),
    };
    Ok(Message::Stop { kernel, sequences, guard, is_guard_new, seconds: started.elapsed().as_secs_f64() })
}

/// The guard's maps; where they can't be opened, what is in force is not what was found.
fn open_guard(found: &mut Found) -> Option<GuardMaps> {
    let opened = match found.guard.as_ref()? {
        Ok(loaded) => GuardMaps::open(loaded),
        Err(_) => return None,
    };
    match opened {
        Ok(maps) => Some(maps),
        Err(error) => {
            crate::say!("watertight: verdicts of the guard are not shown: {}", printable(&format!("{error:#}")));
            None
        }
    }
}

/// Until a signal, a `q` at the terminal, or the end of the time. An error when the run can't go on.
fn wait(
    options: &Options,
    crew: &mut Crew<'_>,
    mut pressure: Option<&mut Pressure>,
    links: &mut Links,
    keeper: &mut Keeper,
) -> Result<()> {
    let alive = Alive::open(&options.state);
    resident::give_back_code();
    loop {
        if ending::is_asked() {
            return Ok(());
        }
        alive.note();
        // A detector that does not read gets no more: what was counted waits in the kernel.
        if let Some(pressure) = pressure.as_deref_mut().filter(|_| crew.has_heard_all()) {
            crew.tell(pressure.look()?)?;
        }
        crew.tell(links.look().into_iter().collect())?;
        crew.tell(keeper.beat(crew.has_heard_all()))?;
        if crew.look_after(BEAT)? {
            ending::ask();
        }
    }
}

/// The file whose time of the last beat tells a later run how long nobody read. Without it that run can't tell the gap's
/// length; it still tells that there was one.
struct Alive(Option<File>);

impl Alive {
    /// Emptied, because an earlier boot's time may have more digits.
    fn open(state: &Path) -> Self {
        Self(File::create(state.join(ALIVE)).ok())
    }

    /// A boot's time never loses a digit: what is written covers what was.
    fn note(&self) {
        if let Some(file) = &self.0 {
            let _ = file.write_all_at(crate::output::boot_ns_now().to_string().as_bytes(), 0);
        }
    }
}

fn show_matrix(matrix: &Matrix, format: Format) -> Result<()> {
    let text = match format {
        Format::Live => printable_lines(&matrix.to_text()),
        _ => format!("{}\n", serde_json::to_string(matrix)?),
    };
    // A run before this one may have been killed in the middle of a line of the same file.
    let end = line_end(io::stdout(), &AtomicU64::default());
    ending::put(&format!("{end}{text}")).map_err(not_written("the matrix"))?;
    for class in matrix.absent() {
        crate::say!("watertight: missing: {}", printable(class));
    }
    Ok(())
}

fn is_live(options: &Options) -> bool {
    options.is_terminal && options.format == Format::Live
}

/// What an earlier run left could not be used.
fn dropped(why: &str) -> Event {
    let message = format!(
        "what an earlier run had pinned is not this build's ({why}): it was dropped with the events that its rings held, and \
         loaded anew"
    );
    crate::say!("watertight: {}", printable(&message));
    sensor_event(Kind::SensorGap, "loader", &message)
}

/// An earlier run ended without taking its leave: how long nobody read, as far as it is known.
fn gap(state: &Path) -> Event {
    let last = std::fs::read_to_string(state.join(ALIVE)).ok().and_then(|text| text.parse::<u64>().ok());
    let length = last.map(|last| crate::output::boot_ns_now().saturating_sub(last));
    let message = match length {
        Some(ns) => format!(
            "an earlier run ended {} ms ago without detaching; its programs went on, and what the rings held is read now",
            ns / 1_000_000
        ),
        None => "an earlier run ended without detaching; its programs went on, and what the rings held is read now".into(),
    };
    sensor_event(Kind::SensorGap, "reader", &message)
}
