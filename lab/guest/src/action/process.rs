//! A process's life: fork, exec, exit, a change of who it is, and its end by another's hand.

use super::{actions, check, number};
use rustix::process::{kill_process, Pid, Signal};
use rustix::thread::{set_capabilities, set_thread_uid, CapabilitySet, CapabilitySets};
use serde_json::json;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The interpreter that dynamically linked programs name, and a program itself.
const DYNAMIC_LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

actions! {
    /// Forks; the child exits at once with code 0. Gives `child`.
    "process.fork" => fork() {
        // SAFETY: the acting process has one thread, so the child has no lock that somebody else held.
        let child = check(i64::from(unsafe { libc::fork() }))?;
        if child == 0 {
            // SAFETY: _exit takes no pointer and never returns.
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        // SAFETY: the status is ours and the child is our own.
        check(i64::from(unsafe { libc::waitpid(child as libc::pid_t, &mut status, 0) }))?;
        Ok(json!({ "child": child }))
    }

    /// Becomes /bin/true with `count` arguments `<mark>-0`, `<mark>-1` ...
    "process.exec_many" => exec_many(mark, count) {
        let count: u32 = number(count)?;
        Err(Command::new("/bin/true").args((0..count).map(|index| format!("{mark}-{index}"))).exec())
    }

    /// Becomes the program with one argument.
    "process.exec" => exec(program, argument) {
        Err(Command::new(program).arg(argument).exec())
    }

    /// Becomes the program with one argument, started by the dynamic loader, so that the file executed is the loader's.
    "process.exec_via_ldso" => exec_via_ldso(program, argument) {
        Err(Command::new(DYNAMIC_LOADER).arg(program).arg(argument).exec())
    }

    /// Becomes a shell that runs the script, so that the file executed is the shell's.
    "process.exec_via_sh" => exec_via_sh(script, argument) {
        Err(Command::new("/bin/sh").arg(script).arg(argument).exec())
    }

    /// Runs /bin/true so many times, one after the other, as fast as it can. Gives `runs`.
    "process.storm" => storm(runs) {
        let runs: u32 = number(runs)?;
        for run in 0..runs {
            Command::new("/bin/true").arg(run.to_string()).stdin(Stdio::null()).status()?;
        }
        Ok(json!({ "runs": runs }))
    }

    /// Exits with a code.
    "process.exit" => exit_with(code) {
        std::process::exit(number(code)?)
    }

    /// Ends itself with a signal.
    "process.signal_self" => exit_by_signal(signal) {
        let signal: i32 = number(signal)?;
        // Rust's start-up catches SIGSEGV and SIGBUS to name a stack overflow; the plain end is wanted here.
        // SAFETY: the default action is no function of ours, and the process has one thread.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise takes no pointer.
        check(i64::from(unsafe { libc::raise(signal) }))?;
        Ok(json!(null))
    }

    /// Gives itself another user id.
    "process.set_uid" => set_uid(uid) {
        let uid = rustix::process::Uid::from_raw(number(uid)?);
        set_thread_uid(uid)?;
        Ok(json!({ "uid": rustix::process::getuid().as_raw() }))
    }

    /// Gives itself another group id.
    "process.set_gid" => set_gid(gid) {
        let gid: libc::gid_t = number(gid)?;
        // SAFETY: setgid takes no pointer.
        check(i64::from(unsafe { libc::setgid(gid) }))?;
        Ok(json!({ "gid": rustix::process::getgid().as_raw() }))
    }

    /// Gives itself two supplementary groups.
    "process.set_groups" => set_groups(first, second) {
        let groups: [libc::gid_t; 2] = [number(first)?, number(second)?];
        // SAFETY: the list lives through the call, and its length is its own.
        check(i64::from(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }))?;
        Ok(json!(null))
    }

    /// Moves into a control group, then becomes another action with one argument.
    "process.exec_in_cgroup" => exec_in_cgroup(cgroup, action, argument) {
        std::fs::write(format!("{cgroup}/cgroup.procs"), std::process::id().to_string())?;
        Err(Command::new(super::ACTOR).args([action, argument]).exec())
    }

    /// Drops every capability.
    "process.drop_capabilities" => drop_capabilities() {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        Ok(json!(null))
    }

    /// Makes a user namespace and moves into it.
    "process.new_user_namespace" => new_user_namespace() {
        // SAFETY: unshare takes no pointer; the process has one thread, as CLONE_NEWUSER demands.
        check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWUSER) }))?;
        Ok(json!(null))
    }

    /// Starts a sleeping child and sends it a signal that must end it. Gives `victim`.
    "process.kill" => kill(signal) {
        let signal: i32 = number(signal)?;
        let signal = Signal::from_named_raw(signal).ok_or_else(|| io::Error::other("no such signal"))?;
        let mut victim = Victim::start()?;
        kill_process(victim.pid()?, signal)?;
        victim.child.wait()?;
        Ok(json!({ "victim": victim.child.id() }))
    }
}

/// How long a program may take to start in emulation.
const SLEEP_MAX: Duration = Duration::from_secs(20);

/// A sleeping child that others act upon; ended when dropped.
pub struct Victim {
    /// The sleeper.
    pub child: Child,
}

impl Victim {
    /// Starts a sleeper and waits until it sleeps: before that its loader still maps and protects memory.
    pub fn start() -> io::Result<Self> {
        let child = Command::new("/usr/bin/sleep").arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let victim = Self { child };
        let started = Instant::now();
        while !victim.sleeps()? {
            if started.elapsed() > SLEEP_MAX {
                return Err(io::Error::other("the victim does not begin to sleep"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(victim)
    }

    /// Whether it is in nanosleep or clock_nanosleep: the first word of /proc/PID/syscall is the call's number.
    fn sleeps(&self) -> io::Result<bool> {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.child.id()))?;
        let number = call.split(' ').next().and_then(|word| word.parse::<i64>().ok());
        Ok(matches!(number, Some(libc::SYS_nanosleep | libc::SYS_clock_nanosleep)))
    }

    /// Its process id.
    pub fn pid(&self) -> io::Result<Pid> {
        Pid::from_raw(self.raw_pid()).ok_or_else(|| io::Error::other("a child has pid 0"))
    }

    /// Its process id as C has it.
    pub fn raw_pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
