//! The detector's beginning: the set-up is read, the content opened, everything else given up, and only then it is ready.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use watertight_sensor_abi::Ring;
use watertight_sensor_reader::Reader;

use super::{Changes, Detector, Lines, OutputGone, Unwritten, EXIT_OUTPUT};
use crate::actions::request::Asker;
use crate::live::Live;
use crate::loss::Losses;
use crate::output::{Output, Records};
use crate::tree::Tree;
use crate::users::Names;
use crate::worker::active::Active;
use crate::worker::asks::Asks;
use crate::worker::correlation_loss::LIMITS;
use crate::worker::mapping::Mapping;
use crate::worker::preparer::Preparer;
use crate::worker::protocol::{Format, Given, InheritedRing, Setup};
use crate::worker::report::{Report, Reporter};
use crate::worker::sandbox::{self, Profile};
use crate::worker::tally::{Phase, Tally};

/// Runs until the supervisor says stop or is gone; what holds it is said on `report` before the first event. Returns the exit
/// code: 0, 3 when the accounts do not balance, [`EXIT_OUTPUT`] when nobody takes what it writes.
///
/// # Errors
/// The set-up is damaged or a rule folder can't be read.
pub fn run(report: RawFd) -> Result<u8> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    sandbox::die_with_parent().context("tying this worker to the supervisor")?;
    crate::say::prepare();
    let mut control = Lines::new(io::stdin().lock());
    let setup = control.wait_line()?.context("the supervisor ended before it said anything")?;
    let mut setup: Setup = serde_json::from_slice(&setup).context("reading the set-up")?;
    watertight_event::name_device(&rustix::system::uname().nodename().to_string_lossy());
    // SAFETY: the supervisor passes these descriptors to this process alone, each once.
    let (tally, mailbox) = unsafe { (OwnedFd::from_raw_fd(setup.tally_fd), File::from_raw_fd(setup.mailbox_fd)) };
    let tally = Arc::new(Tally::map(tally).context("mapping the shared counts")?);
    let active = open(setup.content.take(), &tally)?;
    // The terminal belongs to who logged in: it is opened before, too. Plain lines do where it can't be.
    let is_live = setup.is_terminal && setup.format == Format::Live;
    let live = if is_live { Live::open(setup.has_colour, &setup.own_pids).ok() } else { None };
    let mut detector = Detector::new(setup, active, Arc::clone(&tally), live)?;
    let (sandbox, preparer) =
        sandbox::enter_with(Profile::Detector, reporter.as_fd(), || Preparer::start(mailbox, tally))
            .context("giving up privileges: the detector does not run with them")?;
    detector.preparer = Some(preparer);
    reporter.say(&Report::Ready { sandbox }).context("speaking to the supervisor")?;
    match detector.run(&mut control) {
        Err(error) => match error.downcast_ref::<OutputGone>() {
            Some(gone) => {
                reporter.say(&Report::Output { why: gone.to_string() }).context("speaking to the supervisor")?;
                Ok(EXIT_OUTPUT)
            }
            None => Err(error),
        },
        ended => ended,
    }
}

/// The content to begin with. A death while it is opened is its fault.
fn open(content: Option<Given>, tally: &Tally) -> Result<Active> {
    let Some(given) = content else { return Ok(Active::none()) };
    tally.content().store(given.word, Ordering::SeqCst);
    tally.enter(Phase::Opening);
    // SAFETY: the supervisor passes this descriptor to this process alone, once.
    let image = unsafe { OwnedFd::from_raw_fd(given.fd) };
    let mapping = Mapping::of(image.as_fd()).context("mapping the content")?;
    let active = Active::mapped(given, mapping)?;
    tally.enter(Phase::Elsewhere);
    Ok(active)
}

impl Detector {
    fn new(setup: Setup, active: Active, tally: Arc<Tally>, live: Option<Live>) -> Result<Self> {
        let mut previous = Vec::new();
        for build in setup.previous.chunks(Ring::ALL.len()) {
            previous.push(Reader::new(take_rings(build)?, &setup.boot_id)?);
        }
        // SAFETY: the supervisor passes these descriptors to this process alone, each once.
        let sources = setup.events_fd.map(|fd| Lines::new(unsafe { File::from_raw_fd(fd) }));
        // SAFETY: as above.
        let quit = setup.quit_fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: as above.
        let there = setup.processes_fd.map(|fd| unsafe { File::from_raw_fd(fd) });
        let trail: &'static Tally = Box::leak(Box::new(Arc::clone(&tally)));
        let mut active = active;
        active.rules().leave_trail(trail.rule());
        let mut output = Output::new(setup.format, setup.has_colour, live, active.counts(), Arc::clone(&tally));
        output.resume(&tally);
        // SAFETY: as above.
        let records = setup.records_fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        output.report_to(records.map(|to| Records::new(to, Arc::clone(&tally))));
        // SAFETY: as above.
        let asker = setup.asks_fd.map(|fd| unsafe { Asker::inherit(fd) });
        output.ask_by(Asks::new(setup.actions, asker, active.word()));
        let mut reader = Reader::new(take_rings(&setup.rings)?, &setup.boot_id)?;
        if let Some(verdicts) = &setup.verdicts {
            // SAFETY: as above.
            reader.add_verdicts(unsafe { OwnedFd::from_raw_fd(verdicts.fd) }, verdicts.bytes)?;
        }
        Ok(Self {
            reader,
            previous,
            there,
            boot_id: setup.boot_id,
            tree: Tree::new(Names::of_this_machine()),
            output,
            tally,
            trail,
            active,
            preparer: None,
            changes: Changes::default(),
            sources,
            is_line_broken: setup.is_restart,
            source_counts: Vec::new(),
            malformed: 0,
            limits: [0; LIMITS.len()],
            unwritten: Unwritten::default(),
            is_adopted: setup.is_adopted,
            losses: Losses::default(),
            deaths: setup.deaths,
            quit,
        })
    }
}

/// The descriptors of a build's rings.
fn take_rings(inherited: &[InheritedRing]) -> Result<Vec<(Ring, OwnedFd, u32)>> {
    let mut rings = Vec::with_capacity(inherited.len());
    for one in inherited {
        let ring = Ring::ALL.get(one.ring).copied().context("the set-up names a ring that does not exist")?;
        // SAFETY: the supervisor passes these descriptors to this process alone, each once.
        let fd = unsafe { OwnedFd::from_raw_fd(one.fd) };
        rings.push((ring, fd, one.bytes));
    }
    Ok(rings)
}
