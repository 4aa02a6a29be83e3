//! Connections by dumping the kernel's socket tables at an interval, where the kernel offers no network events.
//!
//! A socket that opens and closes between two dumps is seen only if the kernel still keeps it (TCP in TIME_WAIT, then
//! without its owner). Which process holds a socket is found by one walk over `/proc/*/fd` per dump, only when there is
//! something new. Only our own network namespace is dumped: containers with their own are not seen.

mod owners;
mod record;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{netlink, SendFlags};

use self::owners::Owners;
use self::record::Socket;
use crate::bytes::i32_at;
use crate::error::Error;
use crate::netlink::{self as framing, Messages};
use crate::observed::{Connection, Counts, Family, Observed, Protocol, SocketState, Source};
use crate::timer::Timer;

/// Bytes of one answer: the kernel fills up to 32 KiB, more where large pages allow.
const BUFFER_BYTES: usize = 256 * 1024;
/// Most sockets remembered (about 100 bytes each): a machine with more is told as an overflow, not as memory eaten.
const SOCKETS_MAX: usize = 262_144;
/// Longest wait for the kernel's answer. It answers within the call; the wait is against a kernel that never does.
const ANSWER_MS_MAX: u64 = 2_000;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const TABLES: [(Family, Protocol); 4] = [
    (Family::V4, Protocol::Tcp),
    (Family::V6, Protocol::Tcp),
    (Family::V4, Protocol::Udp),
    (Family::V6, Protocol::Udp),
];

/// One conversation of one socket: a UDP socket that is connected elsewhere has another.
type Key = (u64, SocketAddr);

/// What was told of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    state: SocketState,
    /// Some process holds it: false before it is accepted, and after it is closed.
    is_held: bool,
}

/// Connections found by polling.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    timer: Timer,
    sequence: u32,
    known: HashMap<Key, Sighting>,
    is_first: bool,
}

impl SockDiag {
    /// Opens the socket and tries one dump of IPv4 TCP. The first drain reports the sockets that exist.
    pub fn open(interval: Duration) -> Result<Self, Error> {
        let fail = |call| move |errno| Error::from_call(Source::SockDiag, call, errno);
        let mut source = Self {
            socket: framing::open(netlink::SOCK_DIAG, 0).map_err(fail("netlink sock_diag socket"))?,
            timer: Timer::start(interval).map_err(fail("timerfd"))?,
            sequence: 0,
            known: HashMap::new(),
            is_first: true,
        };
        source
            .dump(Family::V4, Protocol::Tcp, &mut Counts::default(), &mut |_| {})
            .map_err(fail("SOCK_DIAG_BY_FAMILY"))?;
        Ok(source)
    }

    /// Becomes readable when the next dump is due.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.timer.fd()
    }

    /// Dumps the tables, if that is due, and hands what is new to the sink. `records` counts changes, not sockets.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        if !self.timer.has_fired() {
            return Ok(counts);
        }
        let mut found = HashMap::new();
        let mut fresh = Vec::new();
        let mut is_too_many = false;
        for (family, protocol) in TABLES {
            let known = std::mem::take(&mut self.known);
            let result = self.dump(family, protocol, &mut counts, &mut |socket| {
                let key = (socket.cookie, socket.remote);
                if found.len() >= SOCKETS_MAX {
                    is_too_many = true;
                    return;
                }
                let sighting = Sighting { state: socket.state, is_held: socket.inode != 0 };
                found.insert(key, sighting);
                if is_news(known.get(&key).copied(), sighting) {
                    fresh.push((protocol, socket));
                }
            });
            self.known = known;
            match result {
                Ok(()) => {}
                Err(Errno::NOENT | Errno::OPNOTSUPP) => {} // this kernel has no such table (no IPv6, no UDP dumps)
                Err(Errno::NOBUFS) => counts.deliver(sink, Observed::Overflow { source: Source::SockDiag }),
                Err(errno) => {
                    return Err(Error::System { origin: Source::SockDiag, call: "SOCK_DIAG_BY_FAMILY", errno });
                }
            }
        }
        if is_too_many {
            counts.deliver(sink, Observed::Overflow { source: Source::SockDiag });
        }
        let existing = std::mem::replace(&mut self.is_first, false);
        self.known = found;
        let owners = Owners::of(fresh.iter().map(|(_, socket)| socket.inode));
        for (protocol, socket) in fresh {
            counts.deliver(sink, Observed::Connection(connection(&socket, protocol, &owners, existing)));
        }
        Ok(counts)
    }

    /// One table, socket by socket.
    fn dump(
        &mut self,
        family: Family,
        protocol: Protocol,
        counts: &mut Counts,
        take: &mut dyn FnMut(Socket),
    ) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = record::request(family, protocol, self.sequence).ok_or(Errno::OVERFLOW)?;
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        let deadline = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let datagram = match framing::receive(&self.socket, &mut buffer) {
                Ok(datagram) => datagram,
                Err(Errno::AGAIN) => {
                    let timeout = Timespec::try_from(left).map_err(|_| Errno::OVERFLOW)?;
                    match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
                        Ok(_) | Err(Errno::INTR) => continue,
                        Err(errno) => return Err(errno),
                    }
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            for message in Messages::new(datagram) {
                let Ok(message) = message else {
                    counts.refuse();
                    continue;
                };
                if message.sequence != self.sequence {
                    continue; // the rest of a dump that was given up
                }
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return Err(error(message.body)),
                    record::BY_FAMILY => match record::parse(message.body, protocol) {
                        Some(socket) => take(socket),
                        None => counts.refuse(),
                    },
                    _ => {}
                }
            }
        }
        Err(Errno::TIMEDOUT)
    }
}

/// The kernel's error, which it sends negated.
fn error(body: &[u8]) -> Errno {
    i32_at(body, 0).and_then(i32::checked_neg).map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Whether a sighting is to be told, given the one before: what opens, and once more when a process takes it up.
fn is_news(before: Option<Sighting>, now: Sighting) -> bool {
    let Some(before) = before else { return true };
    match now.state {
        SocketState::Established | SocketState::Listening => {
            before.state != now.state || (now.is_held && !before.is_held)
        }
        SocketState::Opening | SocketState::Closing => false,
    }
}

fn connection(socket: &Socket, protocol: Protocol, owners: &Owners, existing: bool) -> Connection {
    let owner = owners.get(socket.inode);
    Connection {
        local: socket.local,
        remote: socket.remote,
        state: socket.state,
        inode: socket.inode,
        uid: socket.uid,
        family: socket.family,
        protocol,
        pid: owner.map(|owner| owner.pid),
        is_shared: owner.is_some_and(|owner| owner.is_shared),
        existing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_told_once_and_again_when_it_is_established() {
        use SocketState::{Closing, Established, Listening, Opening};
        let held = |state| Sighting { state, is_held: true };
        assert!(is_news(None, held(Opening)) && is_news(None, held(Closing)) && is_news(None, held(Listening)));
        assert!(is_news(Some(held(Opening)), held(Established)));
        assert!(!is_news(Some(held(Established)), held(Established)));
        assert!(!is_news(Some(held(Established)), held(Closing)));
    }

    #[test]
    fn a_connection_is_told_again_when_a_process_accepts_it() {
        let established = |is_held| Sighting { state: SocketState::Established, is_held };
        assert!(is_news(Some(established(false)), established(true)));
        assert!(!is_news(Some(established(true)), established(false)));
    }

    #[test]
    fn an_error_that_can_not_be_read_is_still_an_error() {
        assert_eq!(error(&(-2_i32).to_ne_bytes()), Errno::NOENT);
        assert_eq!(error(&i32::MIN.to_ne_bytes()), Errno::IO);
        assert_eq!(error(b""), Errno::IO);
    }
}
