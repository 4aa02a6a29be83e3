//! Signed content: the publisher's side and the update client, by The Update Framework.
//!
//! Two questions, two sets of keys. What may run is signed offline, by as many keys as the threshold asks for (`publish`, `release`).
//! Who runs it when is said online, by a director that can choose among what was signed, delay, pause and recall, and nothing else
//! (`director`). The client (`client`) believes neither the server nor the director without their signatures, keeps what it trusts on a
//! disk that may lose power at any write (`store`), and says how old it is.

pub mod client;
mod crypto;
pub mod director;
pub mod key;
pub mod path;
pub mod publish;
pub mod regular;
pub mod release;
pub mod source;
pub mod store;
pub mod time;

pub use crypto::sha256_hex;
