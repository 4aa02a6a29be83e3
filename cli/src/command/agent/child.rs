//! A command of this program, to its end and within a bound. It ends with who started it.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _};
use rustix::process::{set_parent_process_death_signal, Signal};

/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(20);
/// Longest that one may take: a fetch with every wait that it has takes less.
const COMMAND_MAX: Duration = Duration::from_secs(30 * 60);
/// Longest answer: the row of each pack that a repository may have.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// What is kept of its words.
const WORDS_BYTES_MAX: u64 = 16 << 10;

/// What became of it.
pub(super) struct Done {
    pub(super) code: Option<i32>,
    pub(super) answer: Vec<u8>,
    pub(super) words: String,
}

/// Runs it; `look` is called again and again meanwhile.
///
/// # Errors
/// It can't be started, or does not end.
pub(super) fn run(arguments: &[String], paths: &[(&str, &Path)], look: &mut dyn FnMut()) -> anyhow::Result<Done> {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    // SAFETY: a plain system call, which is all that the child makes before it executes. The thread that starts it lives as long as the process.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    let what = || format!("watertight {}", arguments.join(" "));
    let mut child = command.spawn().with_context(|| format!("starting {}", what()))?;
    let answer = child.stdout.take().map(|from| taken(from, ANSWER_BYTES_MAX));
    let words = child.stderr.take().map(|from| taken(from, WORDS_BYTES_MAX));
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait().with_context(what)? {
            break ended;
        }
        if begun.elapsed() >= COMMAND_MAX {
            let _ = child.kill(); // a failure means that it has ended
            let _ = child.wait(); // nobody asks how
            bail!("{} did not end for {} s and was ended", what(), COMMAND_MAX.as_secs());
        }
        look();
        std::thread::sleep(LOOK);
    };
    let of = |read: Option<JoinHandle<Vec<u8>>>| read.and_then(|read| read.join().ok()).unwrap_or_default();
    let words = String::from_utf8_lossy(&of(words)).trim().to_owned();
    Ok(Done { code: ended.code(), answer: of(answer), words })
}

/// What comes, read to its end and kept up to so many bytes: who writes it never waits.
fn taken(from: impl Read + Send + 'static, most: u64) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut from = from;
        let read = from.by_ref().take(most).read_to_end(&mut kept);
        let _ = read.and_then(|_| io::copy(&mut from, &mut io::sink())); // what was read is what there is
        kept
    })
}
