//! The event model that every part speaks.
//!
//! One table (`table.rs`) names every field and every kind of event once. The Rust types, the native JSON, the Sigma, ECS
//! and OCSF views and the reference page are all made from it, so a field can't exist in one and be missing in another.

mod bytes;
mod ecs;
mod event;
mod fields;
mod json;
mod line;
mod lines;
mod ocsf;
pub mod printable;
mod reference;
#[cfg(test)]
mod samples;
mod table;
mod value;
mod view;

pub use bytes::Bytes;
pub use event::{Event, Outcome, Source};
pub use json::ReadError;
pub use lines::JsonLines;
pub use ocsf::name_device;
pub use reference::reference_page;
pub use table::{Class, Field, Kind, SigmaLogsource, Type};
pub use value::{Text, Value};
pub use view::{sigma_fields, sigma_supply, sigma_types, SigmaSupply, View};
