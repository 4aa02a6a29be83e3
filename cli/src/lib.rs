//! The watertight command.
