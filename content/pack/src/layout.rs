//! How a pack lies in a file, and how much of everything it may have.
//!
//! Numbers are little-endian and may lie at any address. Limits are checked before what they bound is read: a pack is refused for
//! what it claims, not after it was believed. A change of any record is a new `VERSION`.

pub use watertight_engine::image::layout::Range;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a pack begins with.
pub const MAGIC: [u8; 8] = *b"WTPACK\0\0";

/// The layout that this file describes.
pub const VERSION: u32 = 1;

/// Largest pack. All public rules together make one of some 10 MB; the process that opens it may have 64 MiB.
pub const PACK_SIZE_BYTES_MAX: u64 = 64 << 20;

/// Most rules and other documents. There are some 4,000 public rules.
pub const DOCUMENTS_MAX: u32 = 65_536;

/// Longest name of a pack. Names stand in file names and tables.
pub const NAME_BYTES_MAX: u32 = 64;

/// Longest id of a document. A UUID has 36 bytes; a filter may be called by its title.
pub const ID_BYTES_MAX: u32 = 512;

/// Most canaries: all of them run before a pack is activated.
pub const CANARIES_MAX: u32 = 65_536;

/// Most events of one canary: a sequence has some ten stages.
pub const CANARY_EVENTS_MAX: u32 = 256;

/// Most events of all canaries.
pub const EVENTS_MAX: u32 = 131_072;

/// Most fields of one event. The sensor's own have some forty.
pub const EVENT_FIELDS_MAX: u32 = 256;

/// Most values of one field.
pub const FIELD_VALUES_MAX: u32 = 4_096;

/// Most fields of all events.
pub const FIELDS_MAX: u32 = 1 << 20;

/// Most values of all fields.
pub const VALUES_MAX: u32 = 1 << 20;

/// Most expectations of all canaries.
pub const EXPECTATIONS_MAX: u32 = 1 << 20;

/// Longest name of a canary, a field or a part of a log source.
pub const CANARY_NAME_BYTES_MAX: u32 = 256;

/// Longest text of one value. Longer ones are cut in the kernel already.
pub const VALUE_BYTES_MAX: u32 = 64 << 10;

/// All texts of values together, each counted as often as it is referred to: texts may be shared, work is not.
pub const VALUES_BYTES_MAX: u64 = 16 << 20;

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}

record! {
    /// The first bytes.
    Header {
        /// `MAGIC`.
        magic: [u8; 8],
        /// `VERSION`.
        version: U32,
        /// Entries of the directory that follows.
        sections: U32,
        /// Of the whole file.
        size_bytes: U64,
    }
}

record! {
    /// Where a section lies.
    SectionRecord {
        /// A `Section`.
        kind: U32,
        /// Zero.
        reserved: U32,
        /// From the file's beginning: where the one before ends.
        offset: U64,
        /// Its size.
        size_bytes: U64,
        /// SHA-256 of its bytes.
        sha256: [u8; 32],
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Section {
    /// What the release is.
    Manifest = 1,
    /// The compiled rules.
    Image = 2,
    /// Events that prove them.
    Canaries = 3,
    /// Deny rules.
    Policy = 4,
}

impl Section {
    /// All, in the order in which they lie.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Image, Self::Canaries, Self::Policy];

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Image => "image",
            Self::Canaries => "canaries",
            Self::Policy => "policy",
        }
    }

    /// Most bytes that it may have.
    #[must_use]
    pub const fn size_bytes_max(self) -> u64 {
        match self {
            Self::Image => 48 << 20,
            Self::Canaries => 32 << 20,
            Self::Manifest => 16 << 20,
            // As many rules as a policy may have, each with the longest path, would take more; no file of one MiB says that.
            Self::Policy => 2 << 20,
        }
    }
}

record! {
    /// The manifest begins so; `DocumentRecord`s follow, then texts.
    ManifestRecord {
        /// In texts: what kind of content it is.
        name: Range,
        /// The release's number; it grows.
        version: U64,
        /// The first engine that can load it.
        engine_min: U32,
        /// The last.
        engine_max: U32,
        /// `FLAG_`.
        flags: U32,
        /// How many rules the image has.
        rules: U32,
        /// How many `DocumentRecord`s follow.
        documents: U32,
        /// Zero.
        reserved: U32,
    }
}

/// Of a manifest: its new deny rules are enforced at once, without a time in which they only count.
pub const FLAG_URGENT: u32 = 1;

record! {
    /// A rule or another document that the pack was built from. They are in the order of their ids, in small letters.
    DocumentRecord {
        /// In texts.
        id: Range,
        /// `DOCUMENT_`.
        kind: U32,
        /// Zero.
        reserved: U32,
        /// SHA-256 of its source: whether it changed between two packs.
        sha256: [u8; 32],
    }
}

/// A rule.
pub const DOCUMENT_RULE: u32 = 0;
/// What is told of several hits together.
pub const DOCUMENT_CORRELATION: u32 = 1;
/// An exception from rules.
pub const DOCUMENT_FILTER: u32 = 2;

record! {
    /// Canaries begin so; the tables follow in this order, then texts.
    CanariesRecord {
        /// `CanaryRecord`s.
        canaries: U32,
        /// `EventRecord`s.
        events: U32,
        /// `FieldRecord`s.
        fields: U32,
        /// `ValueRecord`s.
        values: U32,
        /// `Expectation`s.
        expectations: U32,
        /// Zero.
        reserved: U32,
    }
}

record! {
    /// Events, and what they must and must not fire. Each table is divided among the records of the one before, in order and
    /// without rest: so no canary can take more work than it has bytes.
    CanaryRecord {
        /// In texts: where it was written.
        name: Range,
        /// In events.
        events: Range,
        /// In expectations: what must fire on at least one of the events.
        fires: Range,
        /// In expectations: what must fire on none.
        silent: Range,
    }
}

record! {
    /// An event.
    EventRecord {
        /// Milliseconds after the canary's first event.
        at_ms: U64,
        /// In texts, of the log source; may be unset, as the next two.
        category: Range,
        /// In texts.
        product: Range,
        /// In texts.
        service: Range,
        /// In fields.
        fields: Range,
    }
}

record! {
    /// A field of an event.
    FieldRecord {
        /// In texts.
        name: Range,
        /// In values.
        values: Range,
    }
}

record! {
    /// A value of a field.
    ValueRecord {
        /// `VALUE_`.
        kind: U32,
        /// Zero.
        reserved: U32,
        /// The number, or the bits of one with a fraction, or 0 and 1 for a truth value.
        bits: U64,
        /// In texts, of a text.
        text: Range,
    }
}

/// No value.
pub const VALUE_NULL: u32 = 0;
/// A truth value.
pub const VALUE_BOOL: u32 = 1;
/// A whole number.
pub const VALUE_INT: u32 = 2;
/// A number with a fraction.
pub const VALUE_REAL: u32 = 3;
/// Bytes, mostly UTF-8.
pub const VALUE_TEXT: u32 = 4;

/// The position of a document in the manifest.
pub type Expectation = U32;

record! {
    /// The policy begins so; `PolicyRuleRecord`s follow, then texts. A section without any bytes is no policy.
    PolicyRecord {
        /// Version of its schema.
        version: U32,
        /// `FLAG_FALLBACK_DENY`, or zero.
        flags: U32,
        /// How many rules.
        rules: U32,
        /// Zero.
        reserved: U32,
    }
}

/// Deny by fanotify where the kernel refuses BPF LSM.
pub const FLAG_FALLBACK_DENY: u32 = 1;

record! {
    /// A deny rule.
    PolicyRuleRecord {
        /// In texts.
        id: Range,
        /// `ACTION_DENY`.
        action: U32,
        /// `MODE_`.
        mode: U32,
        /// A bit for each operation, by its position in `Operation::ALL`.
        operations: U32,
        /// `TARGET_`.
        target: U32,
        /// In texts: the path of a file or a folder. Empty otherwise.
        path: Range,
        /// A digest, or an address of 4 or 16 bytes with zeros behind it. Zero otherwise.
        bytes: [u8; 32],
        /// Of an address; zero otherwise.
        prefix_bits: U32,
        /// Of an address; zero for every port.
        port: U32,
    }
}

/// The operation fails.
pub const ACTION_DENY: u32 = 1;
/// It is counted.
pub const MODE_AUDIT: u32 = 1;
/// It is denied.
pub const MODE_ENFORCE: u32 = 2;
/// A file.
pub const TARGET_FILE: u32 = 1;
/// A folder and everything in it.
pub const TARGET_UNDER: u32 = 2;
/// Contents.
pub const TARGET_SHA256: u32 = 3;
/// An IPv4 address or range.
pub const TARGET_IPV4: u32 = 4;
/// An IPv6 address or range.
pub const TARGET_IPV6: u32 = 5;
