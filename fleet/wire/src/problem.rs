//! What a refusal looks like: a code for programs, a sentence for people, and when to try again.

use serde::{Deserialize, Serialize};

use crate::protocol::Message;

/// What was refused, in a word that programs can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The protocol's number is not spoken: the header of the answer has the newest that is.
    Protocol,
    /// Unreadable, out of bounds, or with an unknown field.
    Form,
    /// Larger than is read.
    TooLarge,
    /// No such token, or it is used up, or too old.
    Token,
    /// No certificate or token where one is needed, or one that is not known.
    Unauthenticated,
    /// The certificate has run out: renew it, or enrol again.
    Expired,
    /// The host was revoked.
    Revoked,
    /// The role does not allow it.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It does not go with what is under way.
    Conflict,
    /// Too many ask: later.
    Busy,
    /// What came can't be made durable, so it is not accepted: later.
    NotDurable,
    /// The server's fault.
    Internal,
}

/// The body of every answer that is a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people: what, and the mend.
    pub message: String,
    /// Not before this time has passed; the header `retry-after` says the same in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Message for Problem {}
