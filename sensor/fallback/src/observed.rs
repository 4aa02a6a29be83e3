//! What the fallback sources say they saw. Plain facts with their doubts attached (merged, vanished, existing, shared):
//! mapping them to the event model is the caller's part.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::process::Process;

/// A fallback source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Filesystem marks.
    Fanotify,
    /// The kernel's process events over netlink.
    ProcConnector,
    /// Repeated reading of `/proc`.
    ProcPoll,
    /// Repeated dumps of the socket tables.
    SockDiag,
    /// Watches on named folders.
    Inotify,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fanotify => "fanotify",
            Self::ProcConnector => "proc connector",
            Self::ProcPoll => "/proc poll",
            Self::SockDiag => "sock_diag",
            Self::Inotify => "inotify",
        })
    }
}

/// What one drain did, exactly: `records = delivered + filtered + malformed`. An `Overflow` is a record and is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read from the kernel (for the polling sources: changes found).
    pub records: u64,
    /// Records handed to the sink.
    pub delivered: u64,
    /// Records that the caller's filter asked to leave out, or that carry nothing the model has a place for.
    pub filtered: u64,
    /// Records that could not be parsed. Never zero by hiding them: they are counted here and nowhere else.
    pub malformed: u64,
    /// How many of the delivered say that the kernel dropped an unknown number of events.
    pub overflows: u64,
    /// The drain stopped at its limit with more to read: call again before waiting on the descriptor.
    pub has_more: bool,
}

impl Counts {
    /// Hands one observation to the sink and counts it as a record delivered.
    pub(crate) fn deliver(&mut self, sink: &mut dyn FnMut(Observed), observed: Observed) {
        self.records = self.records.saturating_add(1);
        self.delivered = self.delivered.saturating_add(1);
        if matches!(observed, Observed::Overflow { .. }) {
            self.overflows = self.overflows.saturating_add(1);
        }
        sink(observed);
    }

    pub(crate) fn filter(&mut self) {
        self.records = self.records.saturating_add(1);
        self.filtered = self.filtered.saturating_add(1);
    }

    pub(crate) fn refuse(&mut self) {
        self.records = self.records.saturating_add(1);
        self.malformed = self.malformed.saturating_add(1);
    }
}

/// Which of the identities changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Real and effective user.
    User,
    /// Real and effective group.
    Group,
}

/// One observation. Process ids are those of the first PID namespace; times are CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A process was forked, or (where `child_pid != child_tgid`) a thread started.
    Fork {
        /// Thread that forked. For a process started by clone with CLONE_PARENT, its parent.
        parent_pid: i32,
        /// Process that forked.
        parent_tgid: i32,
        /// The new thread.
        child_pid: i32,
        /// The new process.
        child_tgid: i32,
        /// When.
        at_ns: u64,
    },
    /// A process replaced its program.
    Exec {
        /// Thread that called exec.
        pid: i32,
        /// Process.
        tgid: i32,
        /// When, if the source knows (`None` from polling).
        at_ns: Option<u64>,
        /// What `/proc` said *after* the event: a second exec in between shows the later program.
        process: Option<Box<Process>>,
        /// The process was gone before `/proc` was read to the end: `process` is absent or has gaps.
        vanished: bool,
    },
    /// A thread or process ended.
    Exit {
        /// Thread.
        pid: i32,
        /// Process; the process ended where it equals `pid`.
        tgid: i32,
        /// As in wait(2): status in bits 8 to 15, signal in bits 0 to 6.
        exit_code: u32,
        /// The signal sent to the parent.
        exit_signal: u32,
        /// When.
        at_ns: u64,
    },
    /// Real or effective ids were set.
    Credentials {
        /// Thread.
        pid: i32,
        /// Process.
        tgid: i32,
        /// Users or groups.
        credential: Credential,
        /// The real id after the change.
        real: u32,
        /// The effective id after the change.
        effective: u32,
        /// When.
        at_ns: u64,
    },
    /// A thread was renamed.
    Renamed {
        /// Thread.
        pid: i32,
        /// Process.
        tgid: i32,
        /// The new name, at most 15 bytes.
        name: Vec<u8>,
        /// When.
        at_ns: u64,
    },
    /// A thread came under a tracer, or (where `tracer_pid` is 0) was let go.
    Traced {
        /// Thread.
        pid: i32,
        /// Process.
        tgid: i32,
        /// Tracing thread.
        tracer_pid: i32,
        /// Tracing process.
        tracer_tgid: i32,
        /// When.
        at_ns: u64,
    },
    /// Polling found a process that was not there before.
    ProcessSeen {
        /// The process as found.
        process: Box<Process>,
        /// It was there at the first look already.
        existing: bool,
    },
    /// Polling no longer finds a process. Its exit code is not known.
    ProcessGone {
        /// The process.
        pid: i32,
        /// Its start time, which tells it from a later process of the same id.
        start_ticks: u64,
    },
    /// A name, or the attributes behind it, changed.
    File(FileChange),
    /// A socket was found in a state in which it was not seen before.
    Connection(Connection),
    /// The kernel dropped events of this source; it doesn't say how many.
    Overflow {
        /// The source that lost events.
        source: Source,
    },
    /// A watch ended by itself (folder removed, moved away or unmounted): from here on that place is not seen.
    WatchEnded {
        /// The source that lost its watch.
        source: Source,
        /// The place.
        place: PathBuf,
    },
}

/// A set of file operations. The kernel merges events about one name: a set has no order, and no count.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct OperationSet(u16);

impl OperationSet {
    /// A name was created: file, folder, FIFO, link or socket; `kind` says which.
    pub const CREATE: Self = Self(1);
    /// A name was removed.
    pub const UNLINK: Self = Self(1 << 1);
    /// A name was renamed away, or (with `RENAME_TO`) both sides are known.
    pub const RENAME_FROM: Self = Self(1 << 2);
    /// A name was renamed to.
    pub const RENAME_TO: Self = Self(1 << 3);
    /// Owner, mode, times, link count or extended attributes changed.
    pub const ATTRIBUTES: Self = Self(1 << 4);
    /// A file that was open for writing was closed. It need not have been written.
    pub const CLOSE_WRITE: Self = Self(1 << 5);
    /// A file was opened to be executed (program, interpreter or loader).
    pub const OPEN_EXEC: Self = Self(1 << 6);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::CREATE, "create"),
        (Self::UNLINK, "unlink"),
        (Self::RENAME_FROM, "rename_from"),
        (Self::RENAME_TO, "rename_to"),
        (Self::ATTRIBUTES, "attributes"),
        (Self::CLOSE_WRITE, "close_write"),
        (Self::OPEN_EXEC, "open_exec"),
    ];

    /// Whether all of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set with `other` added.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The operations, in no order of time.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        Self::NAMES.into_iter().map(|(operation, _)| operation).filter(move |operation| self.contains(*operation))
    }
}

impl fmt::Display for OperationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(operation, _)| self.contains(*operation)).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join("+"))
    }
}

impl fmt::Debug for OperationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationSet({self})")
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A symbolic link.
    Symlink,
    /// A character or block device.
    Device,
}

impl Kind {
    pub(crate) fn from_mode(mode: u32) -> Option<Self> {
        use rustix::fs::FileType;
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Some(Self::File),
            FileType::Directory => Some(Self::Directory),
            FileType::Fifo => Some(Self::Fifo),
            FileType::Socket => Some(Self::Socket),
            FileType::Symlink => Some(Self::Symlink),
            FileType::CharacterDevice | FileType::BlockDevice => Some(Self::Device),
            _ => None,
        }
    }
}

/// How many names a file has.
#[allow(clippy::useless_conversion, reason = "the count has 64 bits on x86-64 and 32 on arm64")]
pub(crate) fn links(stat: &rustix::fs::Stat) -> u64 {
    u64::from(stat.st_nlink)
}

/// One or several changes of one name by one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Who saw it.
    pub source: Source,
    /// What happened, without order.
    pub operations: OperationSet,
    /// The folder, where it is *when the record is read*; `None` when it no longer exists or can't be opened.
    pub directory: Option<PathBuf>,
    /// The name in the folder (bytes: Linux names need not be UTF-8). `.` when the folder itself changed.
    pub name: Vec<u8>,
    /// For a rename of which both sides are known: the folder that the name moved to.
    pub new_directory: Option<PathBuf>,
    /// For a rename of which both sides are known: the new name.
    pub new_name: Option<Vec<u8>>,
    /// The process; `None` where the source doesn't know (inotify), or it is outside our PID namespace.
    pub pid: Option<i32>,
    /// What the name stands for: always known for folders, and for others when it was created and could still be read.
    pub kind: Option<Kind>,
    /// How many names the created file had when it was read: more than one on CREATE means a hard link.
    pub links: Option<u64>,
    /// The record stands for several events of unknown order and number. Both sides of one rename are one event; but
    /// `RENAME_FROM` and `RENAME_TO` without a `new_name` are two: the name was taken away and given, in some order.
    pub merged: bool,
}

impl FileChange {
    /// Whether the name stands for a folder.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == Some(Kind::Directory)
    }
}

/// Address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, also where it speaks IPv4 (its addresses are then shown as IPv4).
    V6,
}

/// Transport of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// State of a socket, as coarse as polling can honestly tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketState {
    /// Waits for connections (TCP), or is bound and takes datagrams from anybody (UDP).
    Listening,
    /// A TCP handshake is under way.
    Opening,
    /// Connected.
    Established,
    /// Closing or closed, still in the kernel's table.
    Closing,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Our side.
    pub local: SocketAddr,
    /// The other side; unspecified address and port 0 for a listening socket.
    pub remote: SocketAddr,
    /// State when it was seen.
    pub state: SocketState,
    /// The socket's inode; 0 before it is accepted and once its owner has closed it.
    pub inode: u32,
    /// User that made the socket; 0 where `inode` is.
    pub uid: u32,
    /// Family of the socket.
    pub family: Family,
    /// Transport.
    pub protocol: Protocol,
    /// A process that holds the socket, the one of the lowest id; `None` when none was found.
    pub pid: Option<i32>,
    /// Several processes hold it: any of them may be the one that talks.
    pub is_shared: bool,
    /// It was there at the first look already.
    pub existing: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_shows_its_operations_by_name() {
        let set = OperationSet::CREATE.with(OperationSet::UNLINK);
        assert_eq!(set.to_string(), "create+unlink");
        assert_eq!(set.iter().collect::<Vec<_>>(), [OperationSet::CREATE, OperationSet::UNLINK]);
    }
}
