//! The workers: processes of their own that may die at any time without harm to the machine.

pub mod detector;
pub mod privileges;
pub mod protocol;
pub mod rules;
pub mod sources;
