//! Detection content from source to the form that the engine evaluates.
//!
//! `sigma` reads Sigma rules: a rule is either understood whole or refused by name, place and mend.

pub mod image;
pub mod pack;
pub mod rule;
pub mod sigma;
