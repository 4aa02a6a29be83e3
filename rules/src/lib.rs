//! The detection rules that ship with the product, embedded, each with events that must and must not fire it.
//!
//! As text, and as the factory pack that a machine falls back on. `build.rs` finds the files and sends them through the content
//! compiler, so a rule that ships is judged by the same door as a rule that a customer writes; this crate has no other state.

/// A file of rules as it lies in this folder, with the events that hold them to their word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Path of the rule from this crate's folder, such as `linux/execution/memfd_execution.yml`.
    pub path: &'static str,
    /// The rule: a Sigma document in YAML, or several that belong together, parted by `---`.
    pub source: &'static str,
    /// YAML with two lists of events, `fires` and `silent`.
    pub tests: &'static str,
}

/// Every rule, ordered by path.
static SHIPPED: &[Shipped] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Every rule that ships with the product, ordered by path.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    SHIPPED
}

/// A static and no constant: one copy in the executable, whoever asks.
static FACTORY_PACK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/factory.pack"));

/// The same rules as a content pack: what runs where there is no other, or where every other has failed.
#[must_use]
pub fn factory_pack() -> &'static [u8] {
    FACTORY_PACK
}

/// Its identity, SHA-256 of these bytes: a host that has only this pack need not count it at every start.
#[must_use]
pub fn factory_id() -> [u8; 32] {
    *include_bytes!(concat!(env!("OUT_DIR"), "/factory.id"))
}
