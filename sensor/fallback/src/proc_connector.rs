//! Process events from the kernel's connector: fork, exec, exit, changed ids, names and tracers.
//!
//! A netlink message holds a `cn_msg` (20 bytes: index u32, value u32, sequence u32, acknowledged u32, length u16, flags
//! u16) and in it a `proc_event` (what u32, cpu u32, time u64, then a body by kind). The events carry numbers only: what
//! was executed is read from `/proc` afterwards, when a short process may have gone.
//!
//! Known limits: only the first PID, user and network namespace is served; a burst overflows the socket's buffer, which is
//! told once, without a count.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{netlink, SendFlags};

use crate::bytes::{i32_at, slice_at, u16_at, u32_at, u64_at, until_nul};
use crate::error::Error;
use crate::netlink::{self as framing, Messages};
use crate::observed::{Counts, Credential, Observed, Source};
use crate::process::Process;

/// Asked of the kernel for the socket's buffer: about 50,000 events, what a parallel build makes in some seconds.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// How long the kernel may take to acknowledge. It does so within the send; the wait is for a machine under load.
const ACKNOWLEDGE_MS_MAX: u64 = 1_000;
/// Datagrams in one drain, each of one event, so that a fork bomb can't keep the caller from its other sources.
const DATAGRAMS_MAX: usize = 4_096;
/// Messages are under 100 bytes; a page leaves room for kinds to come.
const BUFFER_BYTES: usize = 4_096;

const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const CN_HEAD_BYTES: usize = 20;
const EVENT_HEAD_BYTES: usize = 16;
const PROC_CN_MCAST_LISTEN: u32 = 1;
/// `PROC_PID_INIT_INO` of include/linux/proc_ns.h.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

const EVENT_NONE: u32 = 0;
const EVENT_FORK: u32 = 1;
const EVENT_EXEC: u32 = 2;
const EVENT_UID: u32 = 4;
const EVENT_GID: u32 = 0x40;
const EVENT_PTRACE: u32 = 0x100;
const EVENT_COMM: u32 = 0x200;
const EVENT_EXIT: u32 = 0x8000_0000;

/// What to leave out and what to add.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Report starts and ends of threads too. Off by default: only processes.
    pub threads: bool,
    /// Read `/proc` at each exec.
    pub enrich_exec: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: false, enrich_exec: true }
    }
}

/// The kernel's process events.
#[derive(Debug)]
pub struct ProcConnector {
    socket: OwnedFd,
    options: Options,
}

impl ProcConnector {
    /// Subscribes, and waits for the kernel's acknowledgment: without it the socket would stay silent for ever.
    pub fn open(options: Options) -> Result<Self, Error> {
        let fail = |call| move |errno| Error::from_call(Source::ProcConnector, call, errno);
        // Before Linux 6.6 the kernel stays silent to other namespaces; later ones answer with foreign numbers.
        if rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|namespace| namespace.st_ino != FIRST_PID_NAMESPACE) {
            return Err(Error::OtherPidNamespace { origin: Source::ProcConnector });
        }
        let socket = framing::open(netlink::CONNECTOR, CN_IDX_PROC).map_err(fail("netlink connector socket"))?;
        // Best effort: the full size needs CAP_NET_ADMIN (which Linux 6.6 and later don't ask for otherwise), else
        // net.core.rmem_max bounds it. A smaller buffer overflows sooner, and overflows are told.
        let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)
            .or_else(|_| set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES));
        let subscription = subscription().ok_or(Errno::OVERFLOW).map_err(fail("subscription"))?;
        rustix::net::send(&socket, &subscription, SendFlags::empty()).map_err(fail("PROC_CN_MCAST_LISTEN"))?;
        let source = Self { socket, options };
        source.await_acknowledgment()?;
        Ok(source)
    }

    fn await_acknowledgment(&self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(ACKNOWLEDGE_MS_MAX);
        let mut buffer = [0; BUFFER_BYTES];
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            if !matches!(poll(&mut ready, Some(&timeout)), Ok(1..)) {
                continue;
            }
            let Ok(datagram) = framing::receive(&self.socket, &mut buffer) else { continue };
            // Events of other processes may come before ours; having them at all proves the subscription too.
            match Messages::new(datagram).filter_map(Result::ok).find_map(|message| parse(message.body)) {
                Some(Parsed::Acknowledged(0) | Parsed::Event(_) | Parsed::Other) => return Ok(()),
                Some(Parsed::Acknowledged(error)) => {
                    let errno = i32::try_from(error).map_or(Errno::IO, Errno::from_raw_os_error);
                    return Err(Error::from_call(Source::ProcConnector, "PROC_CN_MCAST_LISTEN", errno));
                }
                None => {}
            }
        }
        Err(Error::NoAnswer { origin: Source::ProcConnector, waited_ms: ACKNOWLEDGE_MS_MAX })
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is queued, up to a limit (then `has_more` is set), and hands it to the sink. Never blocks.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..DATAGRAMS_MAX {
            let datagram = match framing::receive(&self.socket, &mut buffer) {
                Ok(datagram) => datagram,
                Err(Errno::AGAIN) => return Ok(counts),
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS) => {
                    counts.deliver(sink, Observed::Overflow { source: Source::ProcConnector });
                    continue;
                }
                Err(errno) => {
                    return Err(Error::System { origin: Source::ProcConnector, call: "receive of events", errno });
                }
            };
            for message in Messages::new(datagram) {
                match message.ok().and_then(|message| parse(message.body)) {
                    Some(Parsed::Event(event)) => self.take(event, &mut counts, sink),
                    Some(Parsed::Acknowledged(_) | Parsed::Other) => counts.filter(),
                    None => counts.refuse(),
                }
            }
        }
        counts.has_more = true;
        Ok(counts)
    }

    fn take(&self, event: Observed, counts: &mut Counts, sink: &mut dyn FnMut(Observed)) {
        if !self.options.threads && is_of_thread(&event) {
            return counts.filter();
        }
        counts.deliver(sink, if self.options.enrich_exec { enriched(event) } else { event });
    }
}

fn is_of_thread(event: &Observed) -> bool {
    match event {
        Observed::Fork { child_pid, child_tgid, .. } => child_pid != child_tgid,
        Observed::Exit { pid, tgid, .. } | Observed::Renamed { pid, tgid, .. } => pid != tgid,
        _ => false,
    }
}

fn enriched(event: Observed) -> Observed {
    let Observed::Exec { pid, tgid, at_ns, .. } = event else { return event };
    let process = Process::read(tgid).map(Box::new);
    // A process without program and arguments is one whose memory is gone: it is ending, though not yet a zombie.
    let has_memory = |process: &Process| process.executable.is_some() || !process.arguments.is_empty();
    let vanished = process.as_ref().is_none_or(|process| process.vanished || !has_memory(process));
    Observed::Exec { pid, tgid, at_ns, process, vanished }
}

fn subscription() -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for number in [CN_IDX_PROC, CN_VAL_PROC, 0, 0] {
        body.extend(number.to_ne_bytes());
    }
    body.extend(4_u16.to_ne_bytes()); // length of the operation
    body.extend(0_u16.to_ne_bytes());
    body.extend(PROC_CN_MCAST_LISTEN.to_ne_bytes());
    framing::encode(3 /* NLMSG_DONE */, 0, 0, &body)
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Event(Observed),
    /// The kernel's answer to a subscription (ours or another listener's), with its error number.
    Acknowledged(u32),
    /// A kind that we have no use for (session, core dump) or don't know.
    Other,
}

/// Parses a connector message, or `None` when it is not a well-formed process event.
fn parse(message: &[u8]) -> Option<Parsed> {
    if (u32_at(message, 0)?, u32_at(message, 4)?) != (CN_IDX_PROC, CN_VAL_PROC) {
        return None;
    }
    let event = slice_at(message, CN_HEAD_BYTES, usize::from(u16_at(message, 16)?))?;
    let at_ns = u64_at(event, 8)?;
    let body = event.get(EVENT_HEAD_BYTES..)?;
    let pid = || i32_at(body, 0);
    let tgid = || i32_at(body, 4);
    let ids = |credential| {
        let (real, effective) = (u32_at(body, 8)?, u32_at(body, 12)?);
        Some(Observed::Credentials { pid: pid()?, tgid: tgid()?, credential, real, effective, at_ns })
    };
    let observed = match u32_at(event, 0)? {
        EVENT_NONE => return Some(Parsed::Acknowledged(u32_at(body, 0)?)),
        EVENT_FORK => Observed::Fork {
            parent_pid: pid()?,
            parent_tgid: tgid()?,
            child_pid: i32_at(body, 8)?,
            child_tgid: i32_at(body, 12)?,
            at_ns,
        },
        EVENT_EXEC => Observed::Exec { pid: pid()?, tgid: tgid()?, at_ns: Some(at_ns), process: None, vanished: false },
        EVENT_UID => ids(Credential::User)?,
        EVENT_GID => ids(Credential::Group)?,
        EVENT_PTRACE => Observed::Traced {
            pid: pid()?,
            tgid: tgid()?,
            tracer_pid: i32_at(body, 8)?,
            tracer_tgid: i32_at(body, 12)?,
            at_ns,
        },
        EVENT_COMM => {
            let name = until_nul(slice_at(body, 8, 16)?).to_vec();
            Observed::Renamed { pid: pid()?, tgid: tgid()?, name, at_ns }
        }
        EVENT_EXIT => Observed::Exit {
            pid: pid()?,
            tgid: tgid()?,
            exit_code: u32_at(body, 8)?,
            exit_signal: u32_at(body, 12)?,
            at_ns,
        },
        _ => return Some(Parsed::Other),
    };
    Some(Parsed::Event(observed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(what: u32, body: &[u32]) -> Vec<u8> {
        let mut event = Vec::new();
        event.extend(what.to_ne_bytes());
        event.extend(0_u32.to_ne_bytes());
        event.extend(5_u64.to_ne_bytes());
        body.iter().for_each(|number| event.extend(number.to_ne_bytes()));
        let mut bytes = Vec::new();
        for number in [CN_IDX_PROC, CN_VAL_PROC, 0, 0] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(u16::try_from(event.len()).expect("small").to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(event);
        bytes
    }

    #[test]
    fn each_kind_is_read() {
        let fork = Observed::Fork { parent_pid: 1, parent_tgid: 2, child_pid: 3, child_tgid: 4, at_ns: 5 };
        assert_eq!(parse(&message(EVENT_FORK, &[1, 2, 3, 4])), Some(Parsed::Event(fork)));
        let exit = Observed::Exit { pid: 1, tgid: 1, exit_code: 256, exit_signal: 17, at_ns: 5 };
        assert_eq!(parse(&message(EVENT_EXIT, &[1, 1, 256, 17, 0, 0])), Some(Parsed::Event(exit)));
        let name = [u32::from_ne_bytes(*b"shel"), u32::from_ne_bytes(*b"l\0xx"), 0, 0];
        let renamed = Observed::Renamed { pid: 1, tgid: 1, name: b"shell".to_vec(), at_ns: 5 };
        let body = [&[1, 1][..], &name].concat();
        assert_eq!(parse(&message(EVENT_COMM, &body)), Some(Parsed::Event(renamed)));
        let user =
            Observed::Credentials { pid: 1, tgid: 1, credential: Credential::User, real: 1000, effective: 0, at_ns: 5 };
        assert_eq!(parse(&message(EVENT_UID, &[1, 1, 1000, 0])), Some(Parsed::Event(user)));
        assert_eq!(parse(&message(EVENT_NONE, &[1])), Some(Parsed::Acknowledged(1)));
        assert_eq!(parse(&message(0x4000_0000, &[1, 1])), Some(Parsed::Other));
    }

    #[test]
    fn a_message_cut_anywhere_is_none_and_not_a_panic() {
        let whole = message(EVENT_FORK, &[1, 2, 3, 4]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "cut at {length}");
        }
        assert_eq!(parse(&message(EVENT_EXEC, &[1])), None);
    }

    #[test]
    fn another_connector_is_not_taken_for_ours() {
        let mut bytes = message(EVENT_EXEC, &[1, 1]);
        bytes[0] = 9;
        assert_eq!(parse(&bytes), None);
    }
}
