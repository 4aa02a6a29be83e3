//! Deny rules: their types, the YAML they are written in, and what no rule may stop.
//!
//! The types cross from the command, which reads the file, to the loader, which is root and reads nothing but this form in
//! JSON. That is why the YAML lies behind the feature `yaml`: the loader is built without it.

mod by_name;
mod check;
mod owned;
mod policy;
mod sha256;
pub mod vital;
#[cfg(feature = "yaml")]
pub mod yaml;

pub use by_name::{refuse_vital_by_name, StopsByName};
pub use check::PolicyError;
pub use owned::{Owned, Owner, PACK_ID_CHARACTERS_MAX};
pub use policy::{
    Action, Mode, Operation, Policy, Rule, Target, ID_CHARACTERS_MAX, PATH_BYTES_MAX, RULES_MAX, VERSION,
};
