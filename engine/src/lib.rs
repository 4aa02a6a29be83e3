//! Evaluates compiled detection rules over events: total functions, no I/O, nothing parsed.
//!
//! An `Image` is what the content compiler made of rules, in one flat piece of memory; a `Plan` is the share of it that
//! applies to one log source. `image::layout` says how an image lies in memory.
//!
//! Nothing here may panic on any image or any event, so indexing, unwrapping and unchecked arithmetic are denied. No memory is
//! allocated on the way of an event but what `Scratch` keeps for the next ones.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        clippy::string_slice
    )
)]

/// The engine's number, which content names as what it is for. It grows when content may need what an older one does not have.
pub const VERSION: u32 = 1;

mod address;
mod automaton;
mod correlate;
mod event;
mod explain;
mod expression;
mod fold;
pub mod image;
mod leaps;
mod pattern;
mod plan;
mod question;
mod scratch;
mod supply;
mod tally;
mod timestamp;

pub use correlate::{
    capacity, Capacity, Correlated, CorrelationAccount, CorrelationExplainer, CorrelationLimits, Correlator, HashKey,
    InputSeen, Moment, Occurrence, Step, Told, UnderWay, Verdict, EVENTS_SHOWN_MAX,
};
pub use event::{Field, Fields, Texts, Value};
pub use explain::{Explanation, FieldMatch, Missing, SelectionMatch};
pub use fold::{fold_char, fold_text};
pub use image::{Action, Budget, Image, ImageError, Level, LogSource, Response, Rule};
pub use pattern::DASHES;
pub use plan::{Limits, Plan};
pub use scratch::{Scratch, FIELD_BYTES_MAX, QUESTIONS_MAX, VALUE_BYTES_MAX, WORK_BYTES_MAX};
pub use supply::{Types, Unsupplied};
pub use tally::{Cost, Tally};
