//! `watertight worker confined CALL`: confines itself exactly as the detector does, or as the agent's uplink with the working directory as
//! its own folder, and then makes one call. Tests and administrators see with it that the sandbox of this build holds on this kernel.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context as _};
use watertight_host::worker::sandbox::{self, Profile};

/// What to do once confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Call {
    /// Nothing that is forbidden: end in peace.
    Nothing,
    /// Read a file.
    Open,
    /// Make a socket.
    Socket,
    /// Start a program.
    Exec,
    /// Make memory that can be run.
    Code,
    /// Type into the terminal.
    Type,
    /// Signal another process.
    Kill,
    /// Load a program into the kernel.
    Bpf,
    /// Use memory without end.
    Memory,
    /// Touch memory that is not there.
    Touch,
    /// Keep a file in the working directory, and read it again: the uplink's work.
    Keep,
    /// Make a link in the working directory.
    Link,
}

/// As what, and what to do.
#[derive(Debug, clap::Args)]
pub struct ConfinedArgs {
    call: Call,
    /// As the agent's uplink.
    #[arg(long)]
    uplink: bool,
    /// What is opened.
    #[arg(long, default_value = "/etc/passwd")]
    file: PathBuf,
}

/// Confines this process, says what holds it, and makes the call.
///
/// # Errors
/// The sandbox could not be entered, or the call was made and nothing happened.
pub fn run(args: &ConfinedArgs) -> anyhow::Result<()> {
    let report = std::io::stderr().as_fd().try_clone_to_owned().context("a descriptor for the report")?;
    let profile = if args.uplink { Profile::Uplink } else { Profile::Detector };
    let sandbox = sandbox::enter(profile, report.as_fd()).context("entering the sandbox")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(&sandbox)?)?;
    out.flush()?;
    match args.call {
        Call::Nothing => return Ok(()),
        Call::Open => drop(File::open(&args.file).context("it is refused, and the process goes on")?),
        Call::Keep => return keep(Path::new("kept")).context("keeping a file"),
        Call::Link => drop(std::os::unix::fs::symlink(&args.file, "link")),
        Call::Socket => drop(UdpSocket::bind("127.0.0.1:0")),
        Call::Exec => drop(Command::new("/bin/true").status()),
        Call::Code => map_code(),
        Call::Type => type_letter(&report),
        Call::Kill => drop(rustix::process::test_kill_process(rustix::process::Pid::INIT)),
        Call::Bpf => load_program(),
        Call::Touch => touch(),
        Call::Memory => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
            }
        }
    }
    bail!("the call was made and this process still runs: the sandbox does not hold")
}

/// As every file of the agent is kept.
fn keep(name: &Path) -> anyhow::Result<()> {
    let beside = name.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(b"kept")?;
    file.sync_all()?;
    fs::rename(&beside, name)?;
    File::open(".")?.sync_all()?;
    anyhow::ensure!(fs::read(name)? == b"kept", "it is another");
    Ok(fs::remove_file(name)?)
}

fn touch() {
    let nowhere = std::ptr::without_provenance::<u8>(1);
    // SAFETY: none: that the kernel ends the process for it is what is tried.
    unsafe { std::ptr::read_volatile(nowhere) };
}

fn map_code() {
    let wanted = libc::PROT_READ | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping at an address of the kernel's choice, which nobody uses.
    unsafe { libc::mmap(std::ptr::null_mut(), 4_096, wanted, flags, -1, 0) };
}

fn load_program() {
    const BPF_PROG_LOAD: libc::c_long = 5;
    // SAFETY: the kernel refuses a program without attributes before it reads any.
    unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, std::ptr::null::<u8>(), 0) };
}

fn type_letter(terminal: &OwnedFd) {
    let letter = b'x';
    // SAFETY: TIOCSTI reads one byte from the pointer, which is live.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, std::ptr::from_ref(&letter)) };
}
