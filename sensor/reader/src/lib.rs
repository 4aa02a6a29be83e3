//! Drains inherited ring buffers without privileges.
