//! Loads, pins and confirms the kernel programs, then exits.
