//! Where a passphrase comes from: the terminal without echo, a file, or a descriptor. Never the command line or the environment, which
//! every process of the machine can read.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use rustix::process::{geteuid, getpid, kill_process, Signal};
use rustix::termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions, Termios};
use watertight_content_repo::key::{SigningKey, KEY_FILE_SIZE_BYTES_MAX};

/// A passphrase with its end of line.
const SIZE_BYTES_MAX: u64 = 4096;

/// Bits that let the group or everybody do something with a file.
const OTHERS: u32 = 0o077;

/// How keys are opened.
#[derive(Debug, clap::Args)]
pub struct PassphraseArgs {
    /// File with the passphrase in its first line. With several keys: given several times, in the order of the keys; the last one is
    /// for all that follow. Without it the terminal is asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
    /// Inherited descriptor that gives passphrases, one a line, in the order of the keys; the last one is for all that follow.
    #[arg(long, value_name = "NUMBER", conflicts_with = "passphrase_file", value_parser = clap::value_parser!(i32).range(0..=1023))]
    passphrase_fd: Option<i32>,
}

/// Gives passphrases, one for each key.
pub struct Passphrases {
    /// Still to be given, the last one stays.
    lines: Vec<String>,
    asks: bool,
}

impl PassphraseArgs {
    /// Reads what is to be read beforehand.
    ///
    /// # Errors
    /// A file or the descriptor can't be read.
    pub fn open(&self) -> anyhow::Result<Passphrases> {
        let mut lines = Vec::new();
        for path in &self.passphrase_file {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            lines.push(first_line(&read(file)?, &path.display().to_string())?);
        }
        if let Some(number) = self.passphrase_fd {
            // Opened anew by its name rather than taken over: the number is the caller's word, and may be a descriptor that this
            // process uses itself.
            let file = File::open(format!("/proc/self/fd/{number}")).with_context(|| format!("descriptor {number}"))?;
            lines = read(file)?.lines().map(str::to_owned).collect();
            if lines.is_empty() {
                bail!("descriptor {number} gives no passphrase");
            }
        }
        lines.reverse();
        let asks = lines.is_empty();
        Ok(Passphrases { lines, asks })
    }
}

impl Passphrases {
    /// The passphrase of this key file.
    ///
    /// # Errors
    /// There is no terminal to ask, or it was not answered.
    pub fn next(&mut self, path: &Path) -> anyhow::Result<String> {
        if self.asks {
            return ask(&format!("passphrase of {}: ", path.display()));
        }
        if self.lines.len() > 1 {
            return Ok(self.lines.pop().unwrap_or_default());
        }
        Ok(self.lines.first().cloned().unwrap_or_default())
    }

    /// The passphrase of a key file that is being made; a terminal is asked twice.
    ///
    /// # Errors
    /// As `next`, or the two differ.
    pub fn next_new(&mut self, path: &Path) -> anyhow::Result<String> {
        let passphrase = self.next(path)?;
        if self.asks && ask("the same again: ")? != passphrase {
            bail!("the two passphrases differ: nothing was made");
        }
        Ok(passphrase)
    }

    /// Opens a key file.
    ///
    /// # Errors
    /// It is none, or the passphrase does not open it.
    pub fn open_key(&mut self, path: &Path) -> anyhow::Result<SigningKey> {
        refuse_exposed(path)?;
        let text = super::read_file(path, KEY_FILE_SIZE_BYTES_MAX)?;
        let text = String::from_utf8(text).with_context(|| format!("{}: no text", path.display()))?;
        let passphrase = self.next(path)?;
        SigningKey::open(&text, &passphrase).with_context(|| path.display().to_string())
    }
}

/// As ssh: a key file of ours that others may read is theirs to try passphrases on.
fn refuse_exposed(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) }; // whoever opens it says why
    let mode = found.mode() & 0o7777;
    if found.is_file() && found.uid() == geteuid().as_raw() && mode & OTHERS != 0 {
        let path = path.display();
        bail!("{path} may be read by others (mode {mode:04o}), who could try passphrases on it: `chmod 600 {path}`");
    }
    Ok(())
}

fn read(file: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    file.take(SIZE_BYTES_MAX).read_to_string(&mut text).context("reading the passphrase")?;
    Ok(text)
}

fn first_line(text: &str, place: &str) -> anyhow::Result<String> {
    text.lines().next().map(str::to_owned).with_context(|| format!("{place} is empty"))
}

/// Asks on the terminal of the process, whatever standard input and output are.
fn ask(question: &str) -> anyhow::Result<String> {
    let mut terminal =
        File::options().read(true).write(true).open("/dev/tty").context(
            "there is no terminal to ask for the passphrase: give it with --passphrase-file or --passphrase-fd",
        )?;
    let answer = {
        // Before the question: whoever answers at once is not shown either.
        let _quiet = Quiet::new(terminal.try_clone()?)?;
        terminal.write_all(question.as_bytes())?;
        line(&terminal)
    };
    terminal.write_all(b"\n")?;
    match answer? {
        Some(answer) => Ok(answer),
        None => {
            // As the key would have done: the shell sees a command that was interrupted.
            let _ = kill_process(getpid(), Signal::INT);
            bail!("interrupted")
        }
    }
}

/// One line, key by key: in this mode the terminal neither edits nor interrupts. `None` if the answer is the interrupt key.
fn line(mut terminal: &File) -> anyhow::Result<Option<String>> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const ERASE: [u8; 2] = [8, 127];
    let mut bytes = Vec::new();
    let mut byte = [0];
    // One at a time: what is typed ahead is for the next question.
    while (bytes.len() as u64) < SIZE_BYTES_MAX && terminal.read(&mut byte)? > 0 {
        let [byte] = byte;
        match byte {
            b'\n' | b'\r' | END => break,
            INTERRUPT => return Ok(None),
            byte if ERASE.contains(&byte) => {
                // A whole character, however many bytes it has.
                while bytes.pop().is_some_and(|byte: u8| byte & 0xC0 == 0x80) {}
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map(Some).context("the passphrase is no text")
}

/// The terminal without echo, until it goes out of scope.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> anyhow::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // What was typed ahead stays, for the next question. If it fails there is nobody to tell.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}
