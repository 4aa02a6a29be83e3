//! The guard's half of the agreement: its hooks, what a policy's generation is made of, and the verdicts that it reports.
//!
//! Apart from the telemetry's definitions, because the guard is loaded, pinned and read by itself: a denial must not depend
//! on anything that only watches.

use crate::decode::DecodeError;
use crate::hook::HookClass;
use crate::layout::{
    identity_bit, FieldKind, Header, Layout, Process, RecordType, Tag, ABI_VERSION, ATTACHMENT_CUT,
    ATTACHMENT_DETACHED, FLAG_HAS_PROCESS,
};

/// Rules in one generation, at most: 4,096 rules with a file each are a map of some megabytes.
pub const POLICY_RULES_MAX: u32 = 4_096;
/// Different prefix lengths of addresses in one generation, at most: a hook looks each of them up.
pub const POLICY_PREFIXES_MAX: u32 = 16;
/// Folders between a file and the root that are looked at; deeper is taken for a match.
pub const FOLDER_STEPS_MAX: u32 = 1_024;
/// Space for the path in a verdict, bytes.
pub const VERDICT_PATH_BYTES: u32 = 1_024;
/// Size of a verdict's record, bytes.
pub const VERDICT_RECORD_BYTES: usize =
    Header::BYTES + Process::BYTES + Verdict::BYTES + ATTACHMENT_BYTES + VERDICT_PATH_BYTES as usize;
const ATTACHMENT_BYTES: usize = 8;
/// The rule refuses.
pub const POLICY_DENY: u16 = 1;
/// The rule lets pass and reports.
pub const POLICY_AUDIT: u16 = 2;
/// Slot of the generation in force.
pub const POLICY_SLOT_CURRENT: u32 = 0;
/// Slot of the generation that was confirmed last.
pub const POLICY_SLOT_CONFIRMED: u32 = 1;
/// FNV-1a's offset basis and prime (64 bits); here they take eight bytes at a time.
const PLACE_HASH_SEED: u64 = 0xcbf2_9ce4_8422_2325;
const PLACE_HASH_FACTOR: u64 = 0x0000_0100_0000_01b3;
/// Bits of the hints for files and folders: with a few hundred of them named, one in ten others is looked for in vain.
const HINT_BITS: u64 = 4096;
/// Entries of the map of hints: the kinds of entries, a byte for each operation; then the bits, 64 in each.
pub const HINT_WORDS: u32 = 1 + (HINT_BITS / 64) as u32;
/// Guard hooks' numbers begin here, apart from the telemetry's.
pub const GUARD_HOOK_FIRST: u16 = 256;

/// Names and numbers for the C header.
pub(crate) const C_CONSTANTS: &[(&str, u64)] = &[
    ("POLICY_RULES_MAX", POLICY_RULES_MAX as u64),
    ("POLICY_PREFIXES_MAX", POLICY_PREFIXES_MAX as u64),
    ("FOLDER_STEPS_MAX", FOLDER_STEPS_MAX as u64),
    ("VERDICT_PATH_BYTES", VERDICT_PATH_BYTES as u64),
    ("POLICY_SLOTS", 2),
    ("POLICY_SLOT_CURRENT", POLICY_SLOT_CURRENT as u64),
    ("POLICY_SLOT_CONFIRMED", POLICY_SLOT_CONFIRMED as u64),
    ("POLICY_DENY", POLICY_DENY as u64),
    ("POLICY_AUDIT", POLICY_AUDIT as u64),
    ("PLACE_HASH_SEED", PLACE_HASH_SEED),
    ("PLACE_HASH_FACTOR", PLACE_HASH_FACTOR),
    ("HINT_BITS", HINT_BITS),
    ("HINT_WORDS", HINT_WORDS as u64),
    ("GUARD_HOOK_FIRST", GUARD_HOOK_FIRST as u64),
    ("GUARD_HOOK_COUNT", GUARD_HOOKS.len() as u64),
    ("ON_EXEC", Operation::Exec as u64),
    ("ON_WRITE", Operation::Write as u64),
    ("ON_UNLINK", Operation::Unlink as u64),
    ("ON_RENAME", Operation::Rename as u64),
    ("ON_MODULE", Operation::Module as u64),
    ("ON_CONNECT", Operation::Connect as u64),
    ("ON_LEAVE", Operation::Leave as u64),
    ("ON_TAMPER", Operation::Tamper as u64),
    ("POLICY_HEADER", EntryKind::Header as u64),
    ("POLICY_FILE", EntryKind::File as u64),
    ("POLICY_PLACE", EntryKind::Place as u64),
    ("POLICY_FOLDER", EntryKind::Folder as u64),
    ("POLICY_DIGEST", EntryKind::Digest as u64),
    ("POLICY_ADDRESS", EntryKind::Address as u64),
    ("POLICY_RULE", EntryKind::Rule as u64),
    ("POLICY_TOO_DEEP", EntryKind::TooDeep as u64),
    ("POLICY_UNNAMED", EntryKind::Unnamed as u64),
    ("POLICY_OWN", EntryKind::Own as u64),
];

layouts! {
    GUARD_LAYOUTS
    /// What the guard answered; after it the attachment [`Tag::Path`] in a space of [`VERDICT_PATH_BYTES`].
    Verdict "wt_verdict" {
        /// [`Operation`].
        operation: u16,
        /// [`POLICY_DENY`] or [`POLICY_AUDIT`].
        mode: u16,
        /// Rule's number in its generation; 0 for the guard's own protection.
        rule: u16,
        /// [`EntryKind`] that decided.
        matched: u16,
        /// The policy's generation.
        generation: u64,
        /// Inode of the file, 0 where there is none.
        inode: u64,
        /// Device.
        dev: u32,
        /// Inode generation.
        inode_generation: u32,
        /// AF_INET or AF_INET6, 0 where there is no address.
        family: u16,
        /// Remote port, host byte order.
        port: u16,
        /// Type and permission bits of the file.
        mode_bits: u32,
        /// v4 in the first four bytes.
        address: b16,
        /// The rule's id, filled up with NULs.
        id: b64,
    }
    /// What the guard is told before it is loaded.
    GuardSettings "wt_guard_settings" {
        /// Inode of the folder that holds its pins.
        pins_inode: u64,
        /// Device of the bpffs that the folder is on.
        pins_dev: u32,
        /// Mount namespace in which that is mounted.
        pins_mnt_ns: u32,
    }
    /// What an entry of a policy's generation is found by.
    PolicyKey "wt_policy_key" {
        /// [`EntryKind`].
        kind: u32,
        /// Device of the file or folder; prefix length of an address, bits of 128.
        dev: u32,
        /// Inode number; first 8 bytes of a digest; upper half of an address; a rule's number.
        a: u64,
        /// Inode generation; second 8 bytes; lower half.
        b: u64,
        /// Hash of a name; third 8 bytes; port, 0 for any.
        c: u64,
        /// Fourth 8 bytes.
        d: u64,
    }
    /// An entry: the header of a generation, a rule's description, or what is ruled of a file, place, folder, digest or
    /// address. Each kind uses some of the members.
    PolicyEntry "wt_policy_entry" {
        /// Header: the generation's number.
        generation: u64,
        /// Header: when it ends unless it is confirmed, CLOCK_BOOTTIME; 0 for never.
        deadline_ns: u64,
        /// Header: kinds of entries that exist, a byte for each operation.
        kinds: u64,
        /// Header: entries of the generation, this one included.
        entries: u32,
        /// Header: how many prefix lengths there are in `text`. Rule: its mode.
        count: u32,
        /// Operations that are denied, by bit.
        denies: u32,
        /// Operations that are audited, by bit.
        audits: u32,
        /// The deciding rule's number, two bytes for each operation.
        rules: b16,
        /// Rule: its id.
        id: b64,
        /// Header: prefix lengths. Rule: what it matches, as written.
        text: b120,
        /// Reserved, 0.
        reserved: u64,
        /// Reserved, 0.
        reserved_too: u64,
    }
}

/// What a policy rules on. The number is the place of its bit and of its byte in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Operation {
    /// Running a file, as a program, interpreter, library or mapped code.
    Exec = 0,
    /// Opening for write, truncating, and creating in a folder.
    Write = 1,
    /// Removing a name, or replacing it by a rename.
    Unlink = 2,
    /// Renaming.
    Rename = 3,
    /// Loading a kernel module.
    Module = 4,
    /// Connecting, and sending without a connection.
    Connect = 5,
    /// Getting a file out of a folder that a rule is about, by a link or a rename.
    Leave = 6,
    /// Tampering with the guard itself.
    Tamper = 7,
}

impl Operation {
    /// Every operation, by number.
    pub const ALL: [Self; 8] =
        [Self::Exec, Self::Write, Self::Unlink, Self::Rename, Self::Module, Self::Connect, Self::Leave, Self::Tamper];

    /// The operation with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The policy's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Write => "write",
            Self::Unlink => "unlink",
            Self::Rename => "rename",
            Self::Module => "module",
            Self::Connect => "connect",
            Self::Leave => "leave",
            Self::Tamper => "tamper",
        }
    }

    /// Its bit in an entry.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What an entry of a generation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum EntryKind {
    /// The generation itself; there is one.
    Header = 0,
    /// A file by its identity.
    File = 1,
    /// A name in a folder.
    Place = 2,
    /// A folder and everything in it.
    Folder = 3,
    /// Contents by SHA-256.
    Digest = 4,
    /// A network and port.
    Address = 5,
    /// A rule, for reports.
    Rule = 6,
    /// Not an entry: a file lies too deep for the walk, and some rule is about a folder.
    TooDeep = 8,
    /// Not an entry: a module came from memory and has no name, and some rule is about modules.
    Unnamed = 9,
    /// Not an entry: something of the guard itself.
    Own = 10,
}

impl EntryKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Header,
            1 => Self::File,
            2 => Self::Place,
            3 => Self::Folder,
            4 => Self::Digest,
            5 => Self::Address,
            6 => Self::Rule,
            8 => Self::TooDeep,
            9 => Self::Unnamed,
            10 => Self::Own,
            _ => return None,
        })
    }

    /// Its word in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::File => "file",
            Self::Place => "place",
            Self::Folder => "under",
            Self::Digest => "sha256",
            Self::Address => "address",
            Self::Rule => "rule",
            Self::TooDeep => "too-deep",
            Self::Unnamed => "module-from-memory",
            Self::Own => "guard",
        }
    }
}

/// Hash of a name in a folder; the guard computes the same of a dentry's name.
#[must_use]
pub fn place_hash(name: &[u8]) -> u64 {
    name.chunks(8).fold(PLACE_HASH_SEED, |hash, chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        let mixed = (hash ^ u64::from_le_bytes(word)).wrapping_mul(PLACE_HASH_FACTOR);
        mixed ^ (mixed >> 32)
    })
}

/// Entry and bit of the hints that stand for a file or folder; the guard computes the same of an inode.
#[must_use]
pub fn hint_of(file: crate::Identity) -> (u32, u64) {
    let bit = identity_bit(file, HINT_BITS);
    (1 + u32::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64)) // below HINT_WORDS
}

macro_rules! guard_hooks {
    ($($variant:ident = $number:literal $program:literal $attach:literal,)*) => {
        /// A hook of the guard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum GuardHook { $(#[doc = concat!("`", $attach, "`")] $variant = $number,)* }

        /// Every guard hook in order of its number.
        pub const GUARD_HOOKS: &[GuardHook] = &[$(GuardHook::$variant),*];

        impl GuardHook {
            /// The hook with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
            /// Name of the program and, without its first word, of its file.
            #[must_use]
            pub const fn program(self) -> &'static str { match self { $(Self::$variant => $program),* } }
            /// Name of the LSM hook or tracepoint.
            #[must_use]
            pub const fn attach_point(self) -> &'static str { match self { $(Self::$variant => $attach),* } }
        }
    };
}

guard_hooks! {
    FileOpen = 256 "guard_open" "file_open",
    Digest = 257 "guard_digest" "bprm_check_security",
    MemoryMap = 258 "guard_map" "mmap_file",
    MemoryProtect = 259 "guard_protect" "file_mprotect",
    Create = 260 "guard_create" "inode_create",
    Mknod = 261 "guard_mknod" "inode_mknod",
    Mkdir = 262 "guard_mkdir" "inode_mkdir",
    Symlink = 263 "guard_symlink" "inode_symlink",
    Link = 264 "guard_link" "inode_link",
    Unlink = 265 "guard_unlink" "inode_unlink",
    Rmdir = 266 "guard_rmdir" "inode_rmdir",
    Rename = 267 "guard_rename" "inode_rename",
    Truncate = 268 "guard_truncate" "path_truncate",
    CopyUp = 269 "guard_copy_up" "inode_copy_up",
    ModuleFile = 270 "guard_module" "kernel_read_file",
    ModuleMemory = 271 "guard_blob" "kernel_load_data",
    Connect = 272 "guard_connect" "socket_connect",
    Send = 273 "guard_send" "socket_sendmsg",
    Ptrace = 274 "guard_ptrace" "ptrace_access_check",
    BpfMap = 275 "guard_bpf_map" "bpf_map",
    Umount = 276 "guard_umount" "sb_umount",
    Mount = 277 "guard_mount" "sb_mount",
    MoveMount = 278 "guard_move_mount" "move_mount",
    Exec = 279 "guard_exec" "sched_process_exec",
    Fork = 280 "guard_fork" "sched_process_fork",
}

impl GuardHook {
    /// How it attaches.
    #[must_use]
    pub const fn class(self) -> HookClass {
        match self {
            Self::Exec | Self::Fork => HookClass::Tracepoint,
            _ => HookClass::Lsm,
        }
    }
}

/// A verdict as it comes out of the guard's ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictRecord<'a> {
    /// The header.
    pub header: Header,
    /// The hook by the header.
    pub hook: GuardHook,
    /// Who asked.
    pub process: Process,
    /// The answer.
    pub verdict: Verdict,
    /// What was asked for.
    pub operation: Operation,
    /// What kind of entry decided.
    pub matched: EntryKind,
    /// Component names from the leaf up, each with its NUL; empty where there is no file.
    pub path: &'a [u8],
    /// The path's beginning was cut.
    pub is_cut: bool,
    /// The path starts at its file system's own root: the hook knows no mount.
    pub is_detached: bool,
}

impl<'a> VerdictRecord<'a> {
    /// Reads one record of the guard's ring.
    ///
    /// # Errors
    /// Names the first thing that is wrong; see [`DecodeError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let short = |what| DecodeError::TooShort { what, bytes: bytes.len() };
        let header = Header::read(bytes).ok_or(short("a header"))?;
        if header.version != ABI_VERSION {
            return Err(DecodeError::Version { version: header.version });
        }
        if usize::try_from(header.bytes) != Ok(bytes.len()) {
            return Err(DecodeError::Size { said: header.bytes, bytes: bytes.len() });
        }
        if header.record != RecordType::Verdict as u16 || header.flags & FLAG_HAS_PROCESS == 0 {
            return Err(DecodeError::Unknown { what: "record type", number: header.record });
        }
        let unknown_hook = DecodeError::Unknown { what: "guard hook", number: header.hook };
        let hook = GuardHook::from_number(header.hook).ok_or(unknown_hook)?;
        let rest = bytes.get(Header::BYTES..).unwrap_or_default();
        let process = Process::read(rest).ok_or(short("a process"))?;
        let rest = rest.get(Process::BYTES..).unwrap_or_default();
        let verdict = Verdict::read(rest).ok_or(short("a verdict"))?;
        let rest = rest.get(Verdict::BYTES..).unwrap_or_default();
        let unknown = |what, number| DecodeError::Unknown { what, number };
        let operation = Operation::from_number(verdict.operation).ok_or(unknown("operation", verdict.operation))?;
        let matched = EntryKind::from_number(verdict.matched).ok_or(unknown("kind of entry", verdict.matched))?;
        if !matches!(verdict.mode, POLICY_DENY | POLICY_AUDIT) {
            return Err(unknown("mode", verdict.mode));
        }
        let (head, space) = rest.split_first_chunk::<ATTACHMENT_BYTES>().ok_or(short("a path's header"))?;
        let [t0, t1, f0, f1, s0, s1, s2, s3] = *head;
        let tag = u16::from_le_bytes([t0, t1]);
        if tag != Tag::Path as u16 {
            return Err(unknown("attachment", tag));
        }
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        let path = space.get(..size).ok_or(short("a path"))?;
        let flags = u16::from_le_bytes([f0, f1]);
        let (is_cut, is_detached) = (flags & ATTACHMENT_CUT != 0, flags & ATTACHMENT_DETACHED != 0);
        Ok(Self { header, hook, process, verdict, operation, matched, path, is_cut, is_detached })
    }

    /// The rule's id; empty for the guard's own protection.
    #[must_use]
    pub fn rule_id(&self) -> String {
        let end = self.verdict.id.iter().position(|byte| *byte == 0).unwrap_or(self.verdict.id.len());
        String::from_utf8_lossy(self.verdict.id.get(..end).unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        Header {
            version: ABI_VERSION,
            record: RecordType::Verdict as u16,
            hook: GuardHook::Unlink as u16,
            flags: FLAG_HAS_PROCESS,
            bytes: u32::try_from(VERDICT_RECORD_BYTES).expect("short"),
            ..Header::default()
        }
        .write(&mut bytes);
        Process { pid: 9, ..Process::default() }.write(&mut bytes);
        let mut id = [0; 64];
        id[..4].copy_from_slice(b"keep");
        Verdict { operation: 2, mode: POLICY_DENY, matched: 1, id, ..Verdict::default() }.write(&mut bytes);
        bytes.extend_from_slice(&[5, 0, 0, 0, 6, 0, 0, 0]);
        bytes.extend_from_slice(b"a\0etc\0");
        bytes.resize(VERDICT_RECORD_BYTES, 0);
        bytes
    }

    #[test]
    fn a_verdict_is_read_back_with_its_rule_and_path() {
        let bytes = record();
        let verdict = VerdictRecord::read(&bytes).expect("a good record");
        assert_eq!(verdict.rule_id(), "keep");
        assert_eq!((verdict.operation, verdict.matched), (Operation::Unlink, EntryKind::File));
        assert_eq!(verdict.path, b"a\0etc\0");
        assert_eq!(verdict.process.pid, 9);
    }

    #[test]
    fn a_path_longer_than_its_space_and_every_cut_are_refused() {
        let mut bytes = record();
        let at = bytes.len() - VERDICT_PATH_BYTES as usize - 4;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(VerdictRecord::read(&bytes), Err(DecodeError::TooShort { what: "a path", .. })));
        let bytes = record();
        for end in 0..bytes.len() {
            assert!(VerdictRecord::read(&bytes[..end]).is_err(), "{end} bytes were read");
        }
    }

    #[test]
    fn names_that_differ_in_one_byte_or_in_length_have_other_places() {
        let hashes = [&b"a"[..], b"b", b"aa", b"a\0", b"aaaaaaaa", b"aaaaaaaaa", b""].map(place_hash);
        let different: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
        // A NUL can't be in a name: only there may two hashes be one.
        assert_eq!(different.len(), hashes.len() - 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(at in 0_usize..VERDICT_RECORD_BYTES, byte in any::<u8>()) {
            let mut bytes = record();
            bytes[at] = byte;
            let _ = VerdictRecord::read(&bytes);
        }
    }
}
