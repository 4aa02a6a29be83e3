//! What agents and the fleet server say to each other. No I/O, no clock, no cryptography: both sides link it.
//!
//! ```text
//! protocol.rs  which number a message is written in, and how an older side is spoken to
//! checkin.rs   check-in and doorbell          enrol.rs   token and signing request in, certificate out
//! records.rs   health, crashes and alerts in batches (protobuf, zstd)
//! problem.rs   what a refusal looks like      limits.rs  how large anything may be
//! ```
//! Small messages are JSON, so that a person can read them; batches are protobuf, because there are many. Either way a field that the
//! reader does not know is refused by name: what one side says and the other drops would be a misunderstanding that nobody sees.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::string_slice)
)]

pub mod checkin;
pub mod enrol;
pub mod limits;
pub mod problem;
pub mod protocol;
pub mod records;

pub use checkin::{CheckIn, CheckInAnswer, WaitAnswer};
pub use enrol::{EnrolRequest, Identity, RenewRequest};
pub use problem::{Code, Problem};
pub use protocol::{read, write, Message, Refused, NEWEST, OLDEST, PROTOCOL_HEADER};
