//! `watertight agent updater`: what of the agent needs the machine's rights and faces no network. It tells the uplink how things stand,
//! and starts `content fetch` and `content install` for it. From where and into which folders is said by its own options alone.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Signal;
use watertight_fleet_agent::machine::{Asker, Fetched};

use super::host::Host;
use super::words::{bounded, bounded_reasons, checked, is_content, short, Answer, End, Progress, Question};
use super::FleetArgs;

/// Between two answers, or two fetches: however much nonsense is asked, this takes no processor for itself.
const PAUSE: Duration = Duration::from_millis(20);
/// How often who waits for a fetch is told that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// As `agent run`.
#[derive(Debug, clap::Args)]
pub struct UpdaterArgs {
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Until it is ended.
///
/// # Errors
/// It was not started by the agent.
pub(super) fn run(args: &UpdaterArgs) -> anyhow::Result<u8> {
    super::end_with_parent(Signal::KILL)?;
    let host = Host::of(&args.fleet);
    let questions = End::inherit(io::stdin()).context("taking the line for questions")?;
    let fetches = End::inherit(io::stdout()).context("taking the line for fetches")?;
    let fetcher = host.clone();
    std::thread::Builder::new().spawn(move || fetch(&fetcher, &fetches)).context("starting a thread")?;
    answer(&host, &questions);
    Ok(0)
}

/// Answers what check-ins ask.
fn answer(host: &Host, questions: &End) {
    loop {
        // What makes no sense has no answer; whoever asked goes on without one.
        if let Ok(packet) = questions.newest::<Question>() {
            let answer = match packet.said {
                Question::Look => {
                    let (content, protection, unended) = host.look();
                    Answer::Look { content, protection, unended: bounded_reasons(unended) }
                }
                Question::Quarantined { content } => {
                    let why = is_content(&content).then(|| host.quarantined(&content)).flatten();
                    Answer::Quarantined { why: why.as_deref().map(short) }
                }
            };
            let _ = questions.send(packet.number, answer); // nobody waits for it any more
        }
        std::thread::sleep(PAUSE);
    }
}

/// Fetches whenever that is asked for, one at a time.
fn fetch(host: &Host, fetches: &End) {
    loop {
        if let Ok(packet) = fetches.newest::<Asker>() {
            let mut told = Instant::now();
            let mut tell = || {
                if told.elapsed() >= TOLD_EVERY {
                    told = Instant::now();
                    let _ = fetches.send(packet.number, Progress::Going); // as above
                }
            };
            let found = match checked(&packet.said) {
                Ok(()) => host.fetch(&packet.said, &mut tell),
                Err(why) => Fetched { failed: Some(why), ..Fetched::default() },
            };
            let _ = fetches.send(packet.number, Progress::Ended(bounded(found)));
        }
        std::thread::sleep(PAUSE);
    }
}
