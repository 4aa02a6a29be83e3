//! Every way in which a source can fail to open or to go on: what failed, why, and what would mend it.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::observed::Source;

/// A filesystem or folder that could not be watched, and the kernel's reason. Others may still be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is mounted, or the folder's path.
    pub place: PathBuf,
    /// The filesystem's type as in mountinfo; empty where it is not known.
    pub filesystem: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.errno {
            Errno::NODEV => "it has no filesystem id to tell its files by",
            Errno::OPNOTSUPP => "its files have no handles that can be exported",
            Errno::XDEV => "its filesystem id differs from that of its root (a btrfs subvolume: watch the root)",
            Errno::PERM | Errno::ACCESS => {
                "not permitted: it needs CAP_SYS_ADMIN in the user namespace that mounted it"
            }
            _ => "the kernel refused",
        };
        write!(f, "{} ({}): {why}: {}", self.place.display(), self.filesystem, self.errno)
    }
}

/// Why a source could not be opened or drained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Privileges are missing.
    #[error("{origin}: {call} is not permitted here: it needs {capability} in the first user namespace; run the sensor as root outside of containers")]
    NotPermitted {
        /// The source that failed.
        origin: Source,
        /// The kernel call that was refused.
        call: &'static str,
        /// The capability that the call asks for.
        capability: &'static str,
    },
    /// The kernel was built without what the source needs.
    #[error("{origin}: {call} is not in this kernel ({errno}): it needs {option}")]
    NotInKernel {
        /// The source that failed.
        origin: Source,
        /// The kernel call that failed.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
        /// Build option or version that has it.
        option: &'static str,
    },
    /// The kernel took the subscription and never acknowledged it.
    #[error("{origin}: subscribed, but no acknowledgment within {waited_ms} ms: the kernel speaks only to the first PID and user namespace; run the sensor outside of containers")]
    NoAnswer {
        /// The source that failed.
        origin: Source,
        /// How long the answer was waited for.
        waited_ms: u64,
    },
    /// The records would name processes by other numbers than /proc does here.
    #[error("{origin}: it names processes by their ids in the first PID namespace, and this one is another; run the sensor outside of containers (or with the host's: --pid=host)")]
    OtherPidNamespace {
        /// The source that failed.
        origin: Source,
    },
    /// Nothing could be watched, so the source would see nothing.
    #[error("{origin}: nothing can be watched, {} refused: {}; name a place on a local filesystem (ext4, xfs, btrfs, tmpfs)", refused.len(), listed(refused))]
    NothingToWatch {
        /// The source that failed.
        origin: Source,
        /// Every place that was tried.
        refused: Vec<Refusal>,
    },
    /// The kernel answered in a layout that this build doesn't know.
    #[error(
        "{origin}: the kernel speaks version {found} of its records, this build reads {expected}: update the sensor"
    )]
    UnknownVersion {
        /// The source that failed.
        origin: Source,
        /// The version that this build reads.
        expected: u8,
        /// The version that the kernel sent.
        found: u8,
    },
    /// Any other refusal of the kernel.
    #[error("{origin}: {call} failed: {errno}; look for resource limits (open files, fs.inotify.*, user.max_fanotify_*) and try again")]
    System {
        /// The source that failed.
        origin: Source,
        /// The kernel call that failed.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

fn listed(refused: &[Refusal]) -> String {
    refused.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// Sorts the kernel's answer to a call into what an operator can do about it.
    pub(crate) fn from_call(origin: Source, call: &'static str, errno: Errno) -> Self {
        let (capability, option) = match origin {
            Source::Fanotify => ("CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH", "CONFIG_FANOTIFY and Linux 5.9"),
            Source::ProcConnector => ("CAP_NET_ADMIN", "CONFIG_PROC_EVENTS"),
            Source::SockDiag => ("nothing more than a netlink socket", "CONFIG_INET_DIAG"),
            Source::Inotify => ("leave to read the folder", "CONFIG_INOTIFY_USER"),
            Source::ProcPoll => ("leave to read /proc", "CONFIG_PROC_FS"),
        };
        match errno {
            Errno::NOENT if origin == Source::SockDiag => Self::NotInKernel {
                origin,
                call,
                errno,
                option: "the module tcp_diag (modprobe tcp_diag) or CONFIG_INET_DIAG",
            },
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { origin, call, capability },
            Errno::NOSYS | Errno::INVAL | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                Self::NotInKernel { origin, call, errno, option }
            }
            _ => Self::System { origin, call, errno },
        }
    }

    /// Whether more privileges would mend it.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::NotPermitted { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_failed_why_and_the_mend() {
        let text = Error::from_call(Source::Fanotify, "fanotify_init", Errno::PERM).to_string();
        assert!(text.contains("fanotify_init") && text.contains("CAP_SYS_ADMIN") && text.contains("run the sensor"));
    }

    #[test]
    fn when_nothing_can_be_watched_every_place_is_named() {
        let refused = vec![Refusal { place: "/mnt/a".into(), filesystem: "fuse".into(), errno: Errno::OPNOTSUPP }];
        let text = Error::NothingToWatch { origin: Source::Fanotify, refused }.to_string();
        assert!(text.contains("/mnt/a (fuse)") && text.contains("1 refused"));
    }
}
