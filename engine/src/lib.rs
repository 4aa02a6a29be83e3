//! Evaluates detection rules over events: total functions, no I/O.
