//! The layouts: a header, the process in whose context the hook ran, a body by record type, then attachments (strings).
//!
//! Little-endian, naturally aligned, no padding that is not named. Attachments are `{tag u16, flags u16, bytes u32}` and the
//! bytes, padded to 8.

mod number;
pub use number::*;

/// Changes with every incompatible change of a layout; a reader refuses other versions.
pub const ABI_VERSION: u16 = 2;

/// Largest record, in bytes: all attachments at their largest, with room for a later one.
pub const RECORD_BYTES_MAX: u32 = 32_768;
/// Arguments of an exec that are taken, in bytes. Longer ones are cut and say so.
pub const ARGV_BYTES_MAX: u32 = 16_384;
/// A path that is taken, in bytes: the kernel's own PATH_MAX.
pub const PATH_BYTES_MAX: u32 = 4_096;
/// Components of a path that are taken. Longer ones lose their beginning and say so.
pub const PATH_STEPS_MAX: u32 = 128;
/// Longest name of one component, with its NUL (NAME_MAX + 1).
pub const NAME_BYTES_MAX: u32 = 256;
/// Longest other string, with its NUL.
pub const STRING_BYTES_MAX: u32 = 256;
/// Records that one processor can build at the same time: a program can be preempted by another.
pub const SCRATCH_SLOTS: u32 = 4;
/// Data in a ring at which the record that reaches it wakes the reader; below, the reader's timer finds it. A sixteenth of the
/// smallest ring: so much comes together in one turn of the timer only when more than 10,000 events a second come.
pub const WAKE_BYTES: u32 = 262_144;

/// Bit of file events in a filter's classes.
pub const CLASS_FILE: u32 = 1;
/// Bit of network events in a filter's classes.
pub const CLASS_NET: u32 = 2;
/// Filters in the map, of all kinds.
pub const FILTERS_MAX: u32 = 256;
/// Ranges of users among them: they are compared one by one.
pub const USER_RANGES_MAX: u32 = 16;
/// Size of the critical ring: some 16,000 records, seconds of the busiest machine. All of a ring counts as memory of who reads it.
pub const RING_CRITICAL_BYTES: u32 = 8 << 20;
/// Size of the ring of file events, bytes.
pub const RING_FILE_BYTES: u32 = 2 << 20;
/// Size of the ring of network events, bytes.
pub const RING_NET_BYTES: u32 = 1 << 20;
/// Pairs of process and hook that are counted between two looks of user space; more are written to the ring, or lost.
pub const AGGREGATES_MAX: u32 = 4_096;

/// The record names the process in whose context the hook ran.
pub const FLAG_HAS_PROCESS: u16 = 1;
/// The record tells of a process that was there already: a snapshot, no event.
pub const FLAG_WAS_THERE: u16 = 2;
/// The attachment was cut.
pub const ATTACHMENT_CUT: u16 = 1;
/// A helper of the kernel could not read all of it.
pub const ATTACHMENT_UNREADABLE: u16 = 2;
/// The path does not start at a root: a memfd, or the hook knows no mount and it starts at the file system's own root.
pub const ATTACHMENT_DETACHED: u16 = 4;

macro_rules! layouts {
    ($list:ident $($(#[$doc:meta])* $name:ident $c_name:literal { $($(#[$field_doc:meta])* $field:ident: $type:tt,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name { $($(#[$field_doc])* pub $field: layouts!(@rust $type),)* }

            // By hand: arrays of more than 32 elements have no default.
            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: layouts!(@zero $type)),* }
                }
            }

            impl $name {
                /// Size in the record, bytes.
                pub const BYTES: usize = Self::LAYOUT.size();
                /// Names, types and offsets, for the C header.
                pub const LAYOUT: Layout = Layout {
                    c_name: $c_name,
                    fields: &[$((stringify!($field), layouts!(@kind $type)),)*],
                };

                /// Reads the struct from its bytes; `None` if they are too few.
                #[must_use]
                pub fn read(bytes: &[u8]) -> Option<Self> {
                    let mut rest = bytes;
                    $(let $field = layouts!(@read rest $type);)*
                    let _ = rest;
                    Some(Self { $($field),* })
                }

                /// Appends the struct's bytes: what the kernel would write. For tests and recordings.
                pub fn write(&self, out: &mut Vec<u8>) {
                    $(out.extend_from_slice(&layouts!(@bytes self.$field, $type));)*
                }
            }

            const _: () = assert!($name::LAYOUT.is_naturally_aligned(), "a field of this layout would need padding");
        )*

        /// Every layout, for the C header.
        pub const $list: &[Layout] = &[$($name::LAYOUT),*];
    };
    (@rust u8) => { u8 };
    (@rust u16) => { u16 };
    (@rust u32) => { u32 };
    (@rust u64) => { u64 };
    (@rust b16) => { [u8; 16] };
    (@rust b64) => { [u8; 64] };
    (@rust b120) => { [u8; 120] };
    (@zero b16) => { [0; 16] };
    (@zero b64) => { [0; 64] };
    (@zero b120) => { [0; 120] };
    (@zero $type:tt) => { 0 };
    (@kind u8) => { FieldKind::U8 };
    (@kind u16) => { FieldKind::U16 };
    (@kind u32) => { FieldKind::U32 };
    (@kind u64) => { FieldKind::U64 };
    (@kind b16) => { FieldKind::Bytes(16) };
    (@kind b64) => { FieldKind::Bytes(64) };
    (@kind b120) => { FieldKind::Bytes(120) };
    (@read $rest:ident b16) => {{ let (head, tail) = $rest.split_first_chunk::<16>()?; $rest = tail; *head }};
    (@read $rest:ident b64) => {{ let (head, tail) = $rest.split_first_chunk::<64>()?; $rest = tail; *head }};
    (@read $rest:ident b120) => {{ let (head, tail) = $rest.split_first_chunk::<120>()?; $rest = tail; *head }};
    (@read $rest:ident $type:tt) => {{
        let (head, tail) = $rest.split_first_chunk::<{ std::mem::size_of::<$type>() }>()?;
        $rest = tail;
        $type::from_le_bytes(*head)
    }};
    (@bytes $value:expr, b16) => { $value };
    (@bytes $value:expr, b64) => { $value };
    (@bytes $value:expr, b120) => { $value };
    (@bytes $value:expr, $type:tt) => { $value.to_le_bytes() };
}

/// How a field lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// This many bytes without alignment.
    Bytes(usize),
}

impl FieldKind {
    /// Size, bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
            Self::Bytes(bytes) => bytes,
        }
    }

    const fn alignment(self) -> usize {
        match self {
            Self::Bytes(_) => 1,
            other => other.size(),
        }
    }
}

/// A struct as both sides see it.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Name in C, after `struct `.
    pub c_name: &'static str,
    /// Names and kinds in order.
    pub fields: &'static [(&'static str, FieldKind)],
}

impl Layout {
    /// Size, bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        let mut size = 0;
        let mut rest = self.fields;
        while let Some(((_, kind), tail)) = rest.split_first() {
            size += kind.size();
            rest = tail;
        }
        size
    }

    pub(crate) const fn is_naturally_aligned(&self) -> bool {
        let mut offset = 0;
        let mut rest = self.fields;
        while let Some(((_, kind), tail)) = rest.split_first() {
            if offset % kind.alignment() != 0 {
                return false;
            }
            offset += kind.size();
            rest = tail;
        }
        offset % 8 == 0
    }
}

layouts! {
    LAYOUTS
    /// First in every record.
    Header "wt_header" {
        /// [`ABI_VERSION`] of the writer.
        version: u16,
        /// [`RecordType`] of the body.
        record: u16,
        /// Size of the whole record, bytes.
        bytes: u32,
        /// [`Hook`](crate::Hook) that wrote it.
        hook: u16,
        /// `FLAG_*`.
        flags: u16,
        /// Processor that ran the hook.
        cpu: u32,
        /// Records that this processor put into this ring before this one.
        sequence: u64,
        /// CLOCK_BOOTTIME.
        boot_ns: u64,
    }
    /// The process in whose context the hook ran.
    Process "wt_process" {
        /// Thread group id, initial namespace.
        pid: u32,
        /// Thread id, initial namespace.
        tid: u32,
        /// Start of the thread group's leader, nanoseconds since boot.
        start_ns: u64,
        /// Parent's thread group id.
        parent_pid: u32,
        /// Audit login user.
        loginuid: u32,
        /// Start of the parent.
        parent_start_ns: u64,
        /// Real user.
        uid: u32,
        /// Real group.
        gid: u32,
        /// Effective user.
        euid: u32,
        /// Effective group.
        egid: u32,
        /// Effective capabilities.
        capabilities: u64,
        /// Inode of the pid namespace.
        pid_ns: u32,
        /// Inode of the mount namespace.
        mnt_ns: u32,
        /// Inode of the user namespace.
        user_ns: u32,
        /// Reserved, 0.
        reserved: u32,
        /// Cgroup v2 id.
        cgroup_id: u64,
        /// Thread name, NUL-terminated.
        comm: b16,
    }
    /// A new process.
    Fork "wt_fork" {
        /// Its thread group id.
        child_pid: u32,
        /// Its thread id.
        child_tid: u32,
        /// Its start.
        child_start_ns: u64,
    }
    /// A program was started.
    Exec "wt_exec" {
        /// Inode of the executable.
        inode: u64,
        /// Device, in the kernel's own encoding (major << 20 | minor).
        dev: u32,
        /// Inode generation.
        generation: u32,
        /// Names that the inode still has.
        links: u32,
        /// `f_flags`-independent kind: magic number of the file system.
        fs_magic: u32,
        /// Size of all arguments.
        argv_bytes: u64,
    }
    /// A process ended.
    Exit "wt_exit" {
        /// Exit code, 0 to 255.
        code: u32,
        /// Signal, 0 for none.
        signal: u32,
    }
    /// Credentials after a change.
    Credentials "wt_credentials" {
        /// Real user.
        uid: u32,
        /// Real group.
        gid: u32,
        /// Effective user.
        euid: u32,
        /// Effective group.
        egid: u32,
        /// Effective capabilities.
        capabilities: u64,
    }
    /// Another process is acted on.
    Target "wt_target" {
        /// Its thread group id.
        pid: u32,
        /// Signal, or the ptrace access mode.
        what: u32,
        /// Its start.
        start_ns: u64,
    }
    /// A file.
    File "wt_file" {
        /// Inode number, 0 before it exists or where there is none.
        inode: u64,
        /// Device.
        dev: u32,
        /// Inode generation.
        generation: u32,
        /// Type and permission bits.
        mode: u32,
        /// Open flags, rename flags, protection or map flags, by hook.
        flags: u32,
        /// New owner, all ones for one that stays.
        uid: u32,
        /// New group, all ones for one that stays.
        gid: u32,
        /// New size where the hook knows it; size of an attribute; flags of a mapping or memory area.
        size: u64,
    }
    /// A socket.
    Socket "wt_socket" {
        /// AF_INET, AF_INET6 or AF_UNIX.
        family: u16,
        /// IP protocol.
        protocol: u16,
        /// Host byte order.
        local_port: u16,
        /// Host byte order.
        remote_port: u16,
        /// TCP state before. With AF_UNIX: 1 if the name is abstract, and without its first NUL.
        old_state: u16,
        /// TCP state after.
        new_state: u16,
        /// SOCK_STREAM and so on, 0 where the hook does not know.
        socket_type: u16,
        /// 1 if this machine opened it.
        is_initiated: u16,
        /// v4 in the first four bytes.
        local: b16,
        /// v4 in the first four bytes.
        remote: b16,
        /// The kernel's number of this socket, the same in all that is told of it and never used again.
        cookie: u64,
    }
    /// Everything else that is a command with numbers.
    System "wt_system" {
        /// Command or id, by hook.
        command: u32,
        /// Type, by hook.
        what: u32,
        /// Flags or a number, by hook.
        value: u64,
    }
    /// A file as the kernel knows it: what a name, a path or a number of a process can't forge. Key of maps.
    Identity "wt_identity" {
        /// Inode number.
        inode: u64,
        /// Device of the file system, in the kernel's own encoding (major << 20 | minor).
        dev: u32,
        /// Inode generation: tells a number that was given anew.
        generation: u32,
    }
    /// An open file of the process that asks, as the iterator of `identify.bpf.c` tells it.
    OpenFile "wt_open_file" {
        /// Inode number.
        inode: u64,
        /// Device of the file system.
        dev: u32,
        /// Inode generation.
        generation: u32,
        /// Number of the descriptor.
        fd: u32,
        /// Reserved, 0.
        reserved: u32,
    }
    /// What a filter looks for. Key of the map `filters`; what a kind does not use is 0.
    FilterKey "wt_filter_key" {
        /// [`FilterKind`].
        kind: u32,
        /// Device of an executable or folder.
        dev: u32,
        /// Inode number of an executable or folder, id of a cgroup, or the place of a range of users.
        number: u64,
        /// Inode generation of an executable or folder.
        generation: u32,
        /// Reserved, 0.
        reserved: u32,
    }
    /// What a filter leaves out.
    FilterRule "wt_filter_rule" {
        /// `CLASS_*` bits.
        classes: u32,
        /// First user of a range.
        low: u32,
        /// Last user of a range.
        high: u32,
        /// Reserved, 0.
        reserved: u32,
    }
    /// What is set once, before the load. The kernel removes code that a 0 here makes unreachable.
    Settings "wt_settings" {
        /// Filters of kind [`FilterKind::Executable`].
        executables: u32,
        /// Filters of kind [`FilterKind::Under`].
        folders: u32,
        /// Filters of kind [`FilterKind::Users`].
        users: u32,
        /// Filters of kind [`FilterKind::Cgroup`].
        cgroups: u32,
    }
    /// What both objects are told of our executables before they are loaded.
    TrustSettings "wt_trust_settings" {
        /// [`identity_bits`] of the manifest's files.
        own_bits: b64,
    }
    /// Whether a ring's hooks count by process instead of writing, and since when. One for each ring.
    Pressure "wt_pressure" {
        /// 1 while they count.
        is_counting: u64,
        /// When they last began.
        began_ns: u64,
        /// When they last ended.
        ended_ns: u64,
        /// How often they began.
        times: u64,
    }
    /// Whose operations at which hook are counted. Key of the maps behind `aggregates`.
    AggregateKey "wt_aggregate_key" {
        /// Thread group id; 0 where no process is known.
        pid: u32,
        /// [`Hook`](crate::Hook).
        hook: u32,
        /// Start of the process.
        start_ns: u64,
    }
    /// Counters of one hook on one processor.
    Counters "wt_counters" {
        /// Times that the hook ran.
        hits: u64,
        /// Left out by a filter.
        filtered: u64,
        /// Put into the ring.
        submitted: u64,
        /// Counted by process instead of put into the ring.
        aggregated: u64,
        /// Lost: the ring was full.
        lost_ring_full: u64,
        /// Lost: more programs preempted each other than there are scratch slots.
        lost_no_scratch: u64,
        /// Calls of kernel helpers that failed; the event is there, with less in it.
        helper_failures: u64,
        /// Reserved, 0.
        reserved: u64,
    }
}

/// Bits in a set of [`identity_bits`].
pub(crate) const IDENTITY_BITS: u64 = 512;

/// The bit that stands for a file in a set of so many; `load.h` computes the same of an inode.
pub(crate) const fn identity_bit(file: Identity, bits: u64) -> u64 {
    (file.inode ^ file.generation as u64) % bits
}

/// A small set of files: one whose bit is not set is not among `files`, and needs no look into the map that has them. The
/// kernel programs compute the same of an inode.
#[must_use]
pub fn identity_bits(files: impl Iterator<Item = Identity>) -> [u8; IDENTITY_BITS as usize / 8] {
    let mut bits = [0; IDENTITY_BITS as usize / 8];
    for file in files {
        let bit = identity_bit(file, IDENTITY_BITS);
        if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| bits.get_mut(at)) {
            *byte |= 1 << (bit % 8);
        }
    }
    bits
}
