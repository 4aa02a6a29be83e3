//! What the detector asks the supervisor for, and the socket between them. One message a request; the detector never waits for room.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use watertight_engine::Action;

/// Longest message: a path of 4,095 bytes, each of them escaped.
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// An action that can be asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Kill the process.
    #[default]
    Kill,
    /// Deny the next start of its executable.
    DenyNext,
}

impl Demand {
    /// As rules write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::DenyNext => "deny_next",
        }
    }

    /// What a rule demands beside the alert.
    #[must_use]
    pub const fn of(action: Action) -> Option<Self> {
        match action {
            Action::Alert => None,
            Action::Kill => Some(Self::Kill),
            Action::DenyNext => Some(Self::DenyNext),
        }
    }
}

/// One request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The content whose rule it is, by the first 64 bits of its id.
    pub content: u64,
    /// The rule.
    pub rule: String,
    /// What it demands.
    pub action: Demand,
    /// The process.
    pub pid: u32,
    /// When it began, nanoseconds since boot.
    pub start_ns: u64,
    /// Its executable.
    pub executable: String,
    /// That one's file system, as the kernel numbers it.
    pub dev: u64,
    /// And inode; 0 where the event does not say.
    pub inode: u64,
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Requests(OwnedFd);

/// The detector's end.
#[derive(Debug)]
pub struct Asker(OwnedFd);

/// Both ends.
///
/// # Errors
/// The kernel gives no descriptors.
pub fn channel() -> io::Result<(Requests, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Requests(ours), theirs))
}

impl Requests {
    /// The next request, if there is one. Never waits.
    pub fn next(&self) -> Option<Result<Request, String>> {
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        match rustix::io::read(&self.0, &mut message) {
            Ok(0) | Err(_) => None,
            Ok(length) => {
                let message = message.get(..length).unwrap_or_default();
                Some(serde_json::from_slice(message).map_err(|error| error.to_string()))
            }
        }
    }
}

impl AsFd for Requests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Asker {
    /// Takes the descriptor that the supervisor left.
    ///
    /// # Safety
    /// It is open, and nobody else's.
    #[must_use]
    pub unsafe fn inherit(fd: RawFd) -> Self {
        // SAFETY: as the caller says.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Asks. False where there is no room for more requests, or nobody listens.
    pub fn ask(&self, request: &Request) -> bool {
        let Ok(message) = serde_json::to_vec(request) else { return false };
        loop {
            match rustix::io::write(&self.0, &message) {
                Err(Errno::INTR) => {}
                written => return message.len() <= MESSAGE_BYTES_MAX && written == Ok(message.len()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_asked_and_nonsense_is_told_as_such() {
        let (requests, asker) = channel().expect("descriptors");
        let asker = Asker(asker);
        assert_eq!(requests.next(), None);
        let request = Request { rule: "r".into(), executable: "/tmp/\u{1b}\n".repeat(300), ..Request::default() };
        assert!(asker.ask(&request));
        assert_eq!(requests.next(), Some(Ok(request)));
        for wrong in ["{}", "kill 1", r#"{"content":1,"rule":"r","action":"reboot"}"#] {
            rustix::io::write(&asker.0, wrong.as_bytes()).expect("room");
            assert!(requests.next().is_some_and(|heard| heard.is_err()), "{wrong}");
        }
    }

    #[test]
    fn who_asks_without_end_never_waits() {
        let (_requests, asker) = channel().expect("descriptors");
        let asker = Asker(asker);
        let heard = (0..100_000).take_while(|_| asker.ask(&Request::default())).count();
        assert!(heard > 0 && heard < 100_000, "{heard}");
    }
}
