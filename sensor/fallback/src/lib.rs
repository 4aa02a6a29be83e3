//! Event sources for kernels that refuse BPF LSM, declared as degraded.
//!
//! Each source is opened by trial (`open` fails with what, why and the mend), has a descriptor to wait on, and a `drain`
//! that never blocks, stops at a limit, and accounts for every record it read. None of them makes the kernel wait for us,
//! and none can deny anything. What each can't see is in the README.

mod bytes;
pub mod container;
pub mod error;
pub mod fanotify;
pub mod inotify;
pub mod mounts;
mod netlink;
pub mod observed;
pub mod proc_connector;
pub mod proc_poll;
pub mod process;
pub mod sock_diag;
pub mod timer;

pub use container::{Container, Runtime};
pub use error::{Error, Refusal};
pub use fanotify::Fanotify;
pub use inotify::Inotify;
pub use observed::{
    Connection, Counts, Credential, Family, FileChange, Kind, Observed, OperationSet, Protocol, SocketState, Source,
};
pub use proc_connector::ProcConnector;
pub use proc_poll::ProcPoll;
pub use process::{snapshot, Process};
pub use sock_diag::SockDiag;
