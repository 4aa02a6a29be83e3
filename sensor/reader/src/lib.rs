//! Drains the kernel sensor's rings and turns records into events, without libbpf and without privileges.
//!
//! The supervisor opens the pins (`maps`), the worker gets the descriptors of the rings alone (`ring`), reads records in the
//! order critical, file, net (`drain`) and translates each (`translate`, `path`, `access`, `exchange`). What a nearly full ring's hooks
//! counted instead is read by the supervisor (`aggregates`).

mod access;
mod aggregates;
mod drain;
mod exchange;
mod ids;
mod links;
mod maps;
mod path;
mod ring;
mod snapshot;
mod translate;
mod verdict;

pub use aggregates::{Aggregate, Aggregates};
pub use drain::{Account, Drained, Reader, Taken};
pub use ids::ProcessIds;
pub use links::{read_link, LinkError, PinnedLink};
pub use maps::{
    lookup, next_key, open_pinned, read_counters, read_guard_counters, read_sequences, ring_size, MapError,
};
pub use ring::{RingBuffer, RingError};
pub use snapshot::{read_snapshot, SnapshotError};
pub use translate::translate;
