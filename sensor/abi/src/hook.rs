//! Every hook: its number, its program, the ring it writes to and where it attaches.

/// Which ring a record goes through. The critical one is drained first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Processes, modules, BPF, ptrace, mounts, denials.
    Critical,
    /// Files, pipes, unix sockets.
    File,
    /// IPv4 and IPv6 sockets.
    Net,
}

impl Ring {
    /// Every ring in the order in which it is drained.
    pub const ALL: [Self; 3] = [Self::Critical, Self::File, Self::Net];

    /// The map's name in the kernel object.
    #[must_use]
    pub const fn map_name(self) -> &'static str {
        match self {
            Self::Critical => "ring_critical",
            Self::File => "ring_file",
            Self::Net => "ring_net",
        }
    }
}

/// How a hook attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookClass {
    /// An LSM hook.
    Lsm,
    /// A kernel tracepoint with BTF.
    Tracepoint,
}

macro_rules! hooks {
    ($($variant:ident = $number:literal $program:literal $class:ident $ring:ident $attach:literal,)*) => {
        /// A hook of the kernel sensor. The number is its index in the counter map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Hook { $(#[doc = concat!("`", $attach, "`")] $variant = $number,)* }

        /// Every hook in order of its number.
        pub const HOOKS: &[Hook] = &[$(Hook::$variant),*];

        impl Hook {
            /// The hook with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
            /// Name of the program and of its file.
            #[must_use]
            pub const fn program(self) -> &'static str { match self { $(Self::$variant => $program),* } }
            /// How it attaches.
            #[must_use]
            pub const fn class(self) -> HookClass { match self { $(Self::$variant => HookClass::$class),* } }
            /// The ring that it writes to.
            #[must_use]
            pub const fn ring(self) -> Ring { match self { $(Self::$variant => Ring::$ring),* } }
            /// Name of the LSM hook or tracepoint.
            #[must_use]
            pub const fn attach_point(self) -> &'static str { match self { $(Self::$variant => $attach),* } }
        }
    };
}

hooks! {
    TaskFork = 0 "task_fork" Tracepoint Critical "sched_process_fork",
    TaskExec = 1 "task_exec" Tracepoint Critical "sched_process_exec",
    TaskExit = 2 "task_exit" Tracepoint Critical "sched_process_exit",
    SockState = 3 "sock_state" Tracepoint Net "inet_sock_set_state",
    TaskFixSetuid = 4 "task_fix_setuid" Lsm Critical "task_fix_setuid",
    Capset = 5 "capset" Lsm Critical "capset",
    UsernsCreate = 6 "userns_create" Lsm Critical "userns_create",
    FileOpen = 7 "file_open" Lsm File "file_open",
    FileMknod = 8 "file_mknod" Lsm File "path_mknod",
    FileRename = 9 "file_rename" Lsm File "path_rename",
    FileUnlink = 10 "file_unlink" Lsm File "path_unlink",
    FileLink = 11 "file_link" Lsm File "path_link",
    FileSymlink = 12 "file_symlink" Lsm File "path_symlink",
    FileMkdir = 13 "file_mkdir" Lsm File "path_mkdir",
    FileChmod = 14 "file_chmod" Lsm File "path_chmod",
    FileChown = 15 "file_chown" Lsm File "path_chown",
    FileSetxattr = 16 "file_setxattr" Lsm File "inode_setxattr",
    FileTruncate = 17 "file_truncate" Lsm File "path_truncate",
    SockConnect = 18 "sock_connect" Lsm Net "socket_connect",
    SockBind = 19 "sock_bind" Lsm Net "socket_bind",
    SockListen = 20 "sock_listen" Lsm Net "socket_listen",
    SockAccept = 21 "sock_accept" Lsm Net "sock_graft",
    SockSend = 22 "sock_send" Lsm Net "socket_sendmsg",
    MemoryMap = 23 "memory_map" Lsm Critical "mmap_file",
    MemoryProtect = 24 "memory_protect" Lsm Critical "file_mprotect",
    KernelReadFile = 25 "kernel_read_file" Lsm Critical "kernel_read_file",
    KernelLoadData = 26 "kernel_load_data" Lsm Critical "kernel_load_data",
    BpfUse = 27 "bpf_use" Lsm Critical "bpf",
    BpfMap = 28 "bpf_map_use" Lsm Critical "bpf_map",
    PerfOpen = 29 "perf_open" Lsm Critical "perf_event_open",
    PtraceAccess = 30 "ptrace_access" Lsm Critical "ptrace_access_check",
    Mount = 31 "mount" Lsm Critical "sb_mount",
    Umount = 32 "umount" Lsm Critical "sb_umount",
    MoveMount = 33 "move_mount" Lsm Critical "move_mount",
    PivotRoot = 34 "pivot_root" Lsm Critical "sb_pivotroot",
    TaskKill = 35 "task_kill" Lsm Critical "task_kill",
    UringSqpoll = 36 "uring_sqpoll" Lsm Critical "uring_sqpoll",
    UringCreds = 37 "uring_creds" Lsm Critical "uring_override_creds",
    TimeSet = 38 "time_set" Lsm Critical "settime",
    FileRmdir = 39 "file_rmdir" Lsm File "path_rmdir",
    FileFtruncate = 40 "file_ftruncate" Lsm File "file_truncate",
    TaskFixSetgid = 41 "task_fix_setgid" Lsm Critical "task_fix_setgid",
    TaskFixSetgroups = 42 "task_fix_setgroups" Lsm Critical "task_fix_setgroups",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hooks_number_is_its_place_in_the_counters() {
        for (at, hook) in HOOKS.iter().enumerate() {
            assert_eq!(*hook as usize, at);
            assert_eq!(Hook::from_number(*hook as u16), Some(*hook));
        }
    }
}
