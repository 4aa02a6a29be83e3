//! Sigma rules: from YAML text to the engine's rule form, and what each rule is worth on a given sensor.
//!
//! The flow is yaml (text to nodes that know their place) -> document (node to rule or exception) -> detection (selections,
//! modifiers, values) -> condition (the boolean tree) -> exception (what is left out of rules) -> image. Whatever is not
//! understood refuses the rule: an unknown modifier that was skipped would make the rule mean something else without a word.
//!
//! Meaning follows the Sigma specification 2.1; where it leaves room: `null` is "absent or null", `''` is "present and
//! empty", numbers and texts are compared by their text, `*` and `?` are wildcards wherever text is compared, and a keyword
//! is looked for inside every value of the event, except that a number as keyword must be a whole value.

mod condition;
mod correlation;
pub mod detect;
mod detection;
pub mod diagnostic;
mod document;
mod encode;
mod event;
pub mod exception;
mod find;
pub mod host;
mod link;
mod load;
mod modifier;
mod moment;
mod place;
pub(crate) mod reason;
pub(crate) mod rejection;
mod response;
pub mod supply;
mod value;
pub mod verdict;
mod verdict_together;
pub(crate) mod yaml;

pub use document::{parse, Document, Parsed};
pub use event::{JsonEvent, Slots};
pub use find::{find, Found};
pub use load::{
    load_dir, load_dirs, load_found, load_texts, same_id, Library, LoadError, Loaded, LoadedCorrelation,
    LoadedException, Source,
};
pub use place::Span;
pub use reason::reference_page;
pub(crate) use rejection::shown_line;
pub use rejection::{Kind, Reason, Rejection};
