//! Pins that an earlier run left and somebody has damaged since: what can't be used is dropped and loaded anew, what is not ours
//! stays. One chain of runs, each killed, its pins damaged, the next one started over them; each test asks for its own link.

use super::Test;
use crate::action::process;
use crate::product::{by, Events, Watertight};
use crate::story::Story;
use crate::world;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "hardening.pins_damaged",
        claim: "pins with a map of another type are dropped, told and loaded anew",
        run: damaged_pins_are_replaced,
    },
    Test {
        name: "hardening.pins_half",
        claim: "pins of a load that was cut short are dropped and loaded anew",
        run: half_pins_are_replaced,
    },
    Test {
        name: "hardening.pins_foreign",
        claim: "what others keep in the pin folder stays, and does not disturb",
        run: foreign_pins_stay,
    },
];

const PINS: &str = "/sys/fs/bpf/watertight";
const FOREIGN: &str = "/sys/fs/bpf/watertight/a-foreign-folder";
/// How long a run may take to print an event, in emulation.
const SAID_MAX: Duration = Duration::from_secs(60);

/// What became of the chain.
struct Seen {
    /// The run over pins of which a map is of another type and one is no link: what it said of them.
    damaged: Vec<String>,
    /// The last run, over half of the pins and beside a foreign folder.
    last: Events,
    is_foreign_left: bool,
    programs_before: usize,
    programs_after: usize,
}

fn seen() -> Result<&'static Seen> {
    static SEEN: Story<Seen> = Story::new();
    SEEN.told(do_all)
}

fn do_all() -> Result<Seen> {
    world::mount_bpf()?;
    let programs_before = loaded_programs()?;
    Watertight::start()?.kill()?;
    let mut damaged = Vec::new();
    let build = pins()?;
    fs::remove_file(build.join("counters"))?;
    fs::rename(build.join("ring_net"), build.join("counters"))?;
    damaged.push(works_and_is_killed()?);
    // A map that is missing altogether, and something that is no link among the links.
    let build = pins()?;
    fs::rename(build.join("ring_net"), build.join("links/file_open_x"))?;
    damaged.push(works_and_is_killed()?);
    let build = pins()?;
    fs::remove_dir(build.join("complete"))?;
    fs::remove_file(build.join("links/task_exec"))?;
    fs::create_dir(FOREIGN)?;
    let run = Watertight::start()?;
    sees_a_program(&run)?;
    let last = run.stop()?;
    let is_foreign_left = fs::exists(FOREIGN)?;
    let _ = fs::remove_dir(FOREIGN);
    Ok(Seen { damaged, last, is_foreign_left, programs_before, programs_after: loaded_programs()? })
}

/// The folder of the build that a killed run left.
fn pins() -> Result<PathBuf> {
    let mut builds = fs::read_dir(PINS)?.filter_map(Result::ok).map(|entry| entry.path());
    builds.find(|path| path.join("links").exists()).context("the killed run left no pins")
}

fn sees_a_program(run: &Watertight) -> Result<()> {
    let act = process::exec_many("wt-recovered", "2")?;
    run.wait_for("process.exec", |event| by(event, &act), SAID_MAX).map(drop)
}

/// A run over damaged pins: it sees what happens. Returns what it said of the pins.
fn works_and_is_killed() -> Result<String> {
    let run = Watertight::start()?;
    let gap = run.wait_for("sensor.gap", |_| true, SAID_MAX)?;
    sees_a_program(&run)?;
    run.kill()?;
    Ok(gap["message"].to_string())
}

fn damaged_pins_are_replaced() -> Result<()> {
    let seen = seen()?;
    for (said, what) in seen.damaged.iter().zip(["the pinned map counters has type", "ring_net is missing"]) {
        ensure!(said.contains(what), "it said {said}, not {what:?}");
    }
    nothing_is_left(seen)
}

fn half_pins_are_replaced() -> Result<()> {
    let seen = seen()?;
    ensure!(seen.last.summary()?["balanced"] == true, "{}", seen.last.summary()?);
    nothing_is_left(seen)
}

fn foreign_pins_stay() -> Result<()> {
    let seen = seen()?;
    ensure!(seen.is_foreign_left, "the folder of others is gone");
    ensure!(seen.last.summary()?["balanced"] == true, "{}", seen.last.summary()?);
    Ok(())
}

/// Whatever was dropped on the way, no program of it is loaded any more.
fn nothing_is_left(seen: &Seen) -> Result<()> {
    let (before, after) = (seen.programs_before, seen.programs_after);
    ensure!(after == before, "{after} programs are loaded, {before} were before");
    Ok(())
}

/// Programs that the kernel has loaded, by bpf(2): the product's are told by nothing else.
/// Once no more come or go: the kernel lets the programs of a run that has ended go one after the other.
pub fn loaded_programs() -> Result<usize> {
    const STILL: Duration = Duration::from_secs(2);
    const SETTLED_MAX: Duration = Duration::from_secs(90);
    let began = Instant::now();
    let mut count = count_programs()?;
    let mut since = Instant::now();
    while since.elapsed() < STILL {
        ensure!(began.elapsed() < SETTLED_MAX, "programs come and go for {} s", SETTLED_MAX.as_secs());
        std::thread::sleep(Duration::from_millis(100));
        let now = count_programs()?;
        if now != count {
            (count, since) = (now, Instant::now());
        }
    }
    Ok(count)
}

fn count_programs() -> Result<usize> {
    const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
    let mut count = 0;
    let mut attributes = [0_u32; 3]; // from this id, the next one, flags
    loop {
        // SAFETY: the kernel reads and writes no more than the attributes' 12 bytes, which are ours.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_GET_NEXT_ID,
                attributes.as_mut_ptr(),
                std::mem::size_of_val(&attributes),
            )
        };
        if answer != 0 {
            let error = std::io::Error::last_os_error();
            ensure!(error.raw_os_error() == Some(libc::ENOENT), "listing programs: {error}");
            return Ok(count);
        }
        count += 1;
        attributes[0] = attributes[1];
    }
}
