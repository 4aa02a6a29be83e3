//! What the kernel programs and user mode agree on: record layouts, limits, and a decoder that refuses malformed records.
