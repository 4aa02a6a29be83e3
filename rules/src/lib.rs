//! The detection rules that ship with the product, embedded, each with events that must and must not fire it.
