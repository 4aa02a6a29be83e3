//! The one table: every field and every kind of event, with its names in all views.
//!
//! A line of `fields!` is: variant, type, native name, Sigma name, ECS name, OCSF name, meaning. `""` is: the schema has no such
//! field. Rules of Sigma then can't ask for it; in ECS it lies below `watertight`, in OCSF below `unmapped`, by its native name. A line of `kinds!` is: variant, native name, class, Sigma category, (ECS category, ECS type), (OCSF class, OCSF
//! activity), Sigma names that differ for this kind, meaning, and the fields beyond those that every event can carry.

/// How a field's value is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Yes or no.
    Bool,
    /// A number from zero.
    Number,
    /// A number that can be below zero.
    Signed,
    /// A string, perhaps cut.
    Text,
    /// Strings in order.
    List,
    /// An IPv4 or IPv6 address.
    Address,
}

impl Type {
    /// Its bit in a set of types. Compiled content carries such sets: the order of the types stays as it is.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Which source an event comes through: each class is switched and accounted for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// fork, exec, exit, credentials, signals.
    Process,
    /// Files, pipes and unix sockets.
    File,
    /// Sockets of IPv4 and IPv6.
    Network,
    /// Modules, BPF, ptrace, mounts, io_uring, time.
    System,
    /// What the sensor says of itself: gaps, losses, changes of mode.
    Sensor,
}

impl Class {
    /// The name in the native form.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::File => "file",
            Self::Network => "network",
            Self::System => "system",
            Self::Sensor => "sensor",
        }
    }
}

/// Name of something in each view; empty where the view has no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// In native JSON.
    pub native: &'static str,
    /// In a line of the Sigma view.
    pub sigma: &'static str,
    /// In ECS.
    pub ecs: &'static str,
    /// In OCSF.
    pub ocsf: &'static str,
}

/// The list of those fields of an event whose values were cut, each by its name in the same view. It tells of fields and is
/// none: in the Sigma view it stands beside the event, where no rule takes it for contents.
pub const TRUNCATED: Names =
    Names { native: "truncated", sigma: "truncated", ecs: "watertight.truncated", ocsf: "unmapped.truncated" };

/// A Sigma log source that a kind of event answers to; the product is always `linux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigmaLogsource {
    /// Sigma's `category`.
    pub category: &'static str,
}

macro_rules! fields {
    ($($variant:ident $type:ident $native:literal $sigma:literal $ecs:literal $ocsf:literal $doc:literal)*) => {
        /// A field of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Field { $(#[doc = $doc] $variant),* }

        impl Field {
            /// Every field, in the order of the table.
            pub const ALL: &'static [Field] = &[$(Field::$variant),*];

            /// The dotted name in native JSON.
            #[must_use]
            pub const fn native(self) -> &'static str { match self { $(Self::$variant => $native),* } }
            /// The name in the Sigma view, unless the kind has its own; empty where there is none.
            #[must_use]
            pub const fn sigma(self) -> &'static str { match self { $(Self::$variant => $sigma),* } }
            /// The dotted ECS name; empty where there is none.
            #[must_use]
            pub const fn ecs(self) -> &'static str { match self { $(Self::$variant => $ecs),* } }
            /// The dotted OCSF name; empty where there is none.
            #[must_use]
            pub const fn ocsf(self) -> &'static str { match self { $(Self::$variant => $ocsf),* } }
            /// What the field means, in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str { match self { $(Self::$variant => $doc),* } }
            /// The type of its value.
            #[must_use]
            pub const fn value_type(self) -> Type { match self { $(Self::$variant => Type::$type),* } }
        }
    };
}

fields! {
    Pid Number "process.pid" "ProcessId" "process.pid" "process.pid" "Process id (thread group id) in the initial pid namespace."
    Tid Number "process.tid" "" "process.thread.id" "process.tid" "Thread id in the initial pid namespace."
    ProcessId Text "process.id" "ProcessGuid" "process.entity_id" "process.uid" "Stable process id: boot id, start time and pid."
    StartNs Number "process.start_ns" "" "" "" "Start of the process, nanoseconds since boot."
    Comm Text "process.name" "" "process.name" "process.name" "Thread name (comm), 15 bytes at most; a process can set it."
    Executable Text "process.executable" "Image" "process.executable" "process.file.path" "Path of the executable as mounted when it was started."
    ExecutableDev Number "process.executable_dev" "" "" "" "Device number of the executable's file system."
    ExecutableInode Number "process.executable_inode" "" "" "" "Inode number of the executable."
    ExecutableGeneration Number "process.executable_generation" "" "" "" "Inode generation of the executable."
    IsMemfd Bool "process.is_memfd" "Memfd" "" "" "The executable is a memfd: it has no file."
    IsDeleted Bool "process.is_deleted" "Deleted" "" "" "The executable had no name left in any folder when it was started."
    Argv List "process.argv" "" "process.args" "" "Arguments, the first being the program's name."
    ArgvBytes Number "process.argv_bytes" "ArgvBytes" "watertight.argv_bytes" "unmapped.argv_bytes" "Size of all arguments before any cut."
    CommandLine Text "process.command_line" "CommandLine" "process.command_line" "process.cmd_line" "Arguments joined by spaces."
    Cwd Text "process.cwd" "CurrentDirectory" "process.working_directory" "process.working_directory" "Working directory."
    Interpreter Text "process.interpreter" "Interpreter" "" "" "Program that runs the script or loads the executable, when it differs from the file that was executed."
    Uid Number "process.uid" "UserId" "user.id" "actor.user.uid" "Real user id."
    Gid Number "process.gid" "" "group.id" "" "Real group id."
    Euid Number "process.euid" "EffectiveUserId" "user.effective.id" "" "Effective user id."
    Egid Number "process.egid" "" "user.effective.group.id" "" "Effective group id."
    User Text "process.user" "User" "user.name" "actor.user.name" "Name of the real user id in the initial user namespace."
    Group Text "process.group" "" "group.name" "" "Name of the real group id."
    LoginUid Number "process.loginuid" "LogonId" "" "" "Audit login user id; 4294967295 when none."
    Capabilities Number "process.capabilities" "" "" "" "Effective capabilities as a bit set."
    PidNs Number "process.pid_ns" "" "" "" "Inode number of the pid namespace."
    MntNs Number "process.mnt_ns" "" "" "" "Inode number of the mount namespace."
    UserNs Number "process.user_ns" "" "" "" "Inode number of the user namespace."
    CgroupId Number "process.cgroup_id" "" "" "" "Cgroup v2 id."
    CgroupPath Text "process.cgroup" "CgroupPath" "" "" "Path of the cgroup."
    ContainerId Text "process.container_id" "ContainerId" "container.id" "process.container.uid" "Container id, from the cgroup's name."
    ParentPid Number "process.parent.pid" "ParentProcessId" "process.parent.pid" "process.parent_process.pid" "Process id of the parent."
    ParentId Text "process.parent.id" "ParentProcessGuid" "process.parent.entity_id" "process.parent_process.uid" "Stable id of the parent."
    ParentExecutable Text "process.parent.executable" "ParentImage" "process.parent.executable" "process.parent_process.file.path" "Executable of the parent."
    ParentCommandLine Text "process.parent.command_line" "ParentCommandLine" "process.parent.command_line" "process.parent_process.cmd_line" "Arguments of the parent joined by spaces."
    ParentUser Text "process.parent.user" "ParentUser" "process.parent.user.name" "process.parent_process.user.name" "User name of the parent."
    Depth Number "process.depth" "" "" "" "How many known ancestors the process has."
    ExitCode Number "exit.code" "ExitCode" "process.exit_code" "exit_code" "Exit code of the process."
    ExitSignal Number "exit.signal" "Signal" "" "" "Signal that ended the process, 0 when none did."
    ChildPid Number "child.pid" "" "" "" "Process id of the new process."
    ChildTid Number "child.tid" "" "" "" "Thread id of the new task."
    ChildId Text "child.id" "" "" "" "Stable id of the new process."
    TargetPid Number "target.pid" "TargetProcessId" "" "" "Process that is acted on."
    TargetId Text "target.id" "TargetProcessGuid" "" "" "Stable id of the process that is acted on."
    TargetExecutable Text "target.executable" "TargetImage" "" "" "Executable of the process that is acted on."
    Signal Number "signal.number" "Signal" "" "" "Signal that is sent."
    Operations List "operations" "Operation" "watertight.operations" "unmapped.operations" "What is done; more than one where the source merged records, in no known order."
    IsMerged Bool "is_merged" "Merged" "watertight.is_merged" "unmapped.is_merged" "One record stands for several operations."
    Path Text "file.path" "TargetFilename" "file.path" "file.path" "Path of the file."
    IsPathInFileSystem Bool "file.is_path_in_file_system" "" "watertight.is_path_in_file_system" "unmapped.is_path_in_file_system" "The path begins at the root of the file's own file system, not at the machine's: the kernel tells no mount there, or it is mounted nowhere."
    OldPath Text "file.old_path" "SourceFilename" "file.Ext.original.path" "" "Path before a rename, or the file that a link points to."
    IsExchange Bool "file.is_exchange" "" "watertight.is_exchange" "unmapped.is_exchange" "The two names change places (RENAME_EXCHANGE): each direction is an event, the second without the file's identity."
    LinkTarget Text "file.link_target" "LinkTarget" "file.target_path" "" "Text of a symbolic link."
    Dev Number "file.dev" "" "" "" "Device number of the file system."
    Inode Number "file.inode" "" "file.inode" "" "Inode number."
    Generation Number "file.generation" "" "" "" "Inode generation."
    Mode Number "file.mode" "" "" "" "Type and permission bits."
    ModeText Text "file.mode_text" "Mode" "file.mode" "" "Permission bits in octal."
    FileType Text "file.type" "" "file.type" "" "file, dir, symlink, fifo, socket, block or char; device where the source does not say which."
    FileUid Number "file.uid" "" "file.uid" "" "Owner that is set."
    FileGid Number "file.gid" "" "file.gid" "" "Group that is set."
    OpenFlags Number "file.open_flags" "" "" "" "Flags of the open."
    Size Number "file.size" "" "file.size" "file.size" "Size that the file gets."
    Attribute Text "file.attribute" "Attribute" "" "" "Name of the extended attribute."
    Protection Number "memory.protection" "" "" "" "Protection bits that are asked for."
    MappedMemfd Bool "memory.is_memfd" "Memfd" "" "" "What is mapped is a memfd: it has no file."
    MapFlags Number "memory.flags" "" "" "" "Flags of the mapping."
    Family Text "network.family" "" "network.type" "" "ipv4, ipv6 or unix."
    Protocol Text "network.protocol" "Protocol" "network.transport" "connection_info.protocol_name" "tcp, udp or the number."
    LocalAddress Address "network.local.address" "SourceIp" "source.ip" "src_endpoint.ip" "Local address."
    LocalPort Number "network.local.port" "SourcePort" "source.port" "src_endpoint.port" "Local port."
    RemoteAddress Address "network.remote.address" "DestinationIp" "destination.ip" "dst_endpoint.ip" "Remote address."
    RemotePort Number "network.remote.port" "DestinationPort" "destination.port" "dst_endpoint.port" "Remote port."
    IsInitiated Bool "network.is_initiated" "Initiated" "" "" "This machine opened the connection."
    SocketId Number "network.socket_id" "" "" "" "The kernel's number of the socket: the same in all events of one connection's end on this machine."
    OldState Text "network.old_state" "" "" "" "TCP state before."
    NewState Text "network.new_state" "" "" "" "TCP state after."
    ModuleName Text "module.name" "ModuleName" "" "driver.file.name" "Name of the module or firmware."
    Command Number "bpf.command" "" "" "" "Command of the bpf() call."
    BpfType Number "bpf.type" "" "" "" "Program or map type."
    BpfName Text "bpf.name" "" "" "" "Name of the map that is used."
    PerfAccess Text "perf.access" "" "" "" "What the kernel asks about the counter (PERF_SECURITY_*): open, cpu, kernel or tracepoint."
    PerfType Number "perf.type" "" "" "" "Type of the counter (PERF_TYPE_*), where the kernel tells it: 6.1 does, 6.12 does not."
    PerfConfig Number "perf.config" "" "" "" "Which counter of its type, where the kernel tells it."
    AccessMode List "access.mode" "AccessMode" "watertight.access_mode" "unmapped.access_mode" "What is asked for (PTRACE_MODE_*): read or attach, and by which ids, fscreds or realcreds."
    MountSource Text "mount.source" "Source" "" "" "What is mounted."
    FsType Text "mount.type" "FsType" "" "" "File system type."
    MountRoot Text "mount.root" "" "" "" "Path within its own file system of what is mounted, where a mount is put somewhere for the first time."
    IsDetached Bool "mount.is_detached" "" "" "" "The mount was nowhere before: made by fsmount or open_tree."
    MountFlags Number "mount.flags" "" "" "" "Mount flags."
    NewUid Number "new.uid" "NewUserId" "user.changes.id" "" "Real user id after the change."
    NewGid Number "new.gid" "" "user.changes.group.id" "" "Real group id after the change."
    NewEuid Number "new.euid" "" "" "" "Effective user id after the change."
    NewEgid Number "new.egid" "" "" "" "Effective group id after the change."
    NewGroups List "new.groups" "" "" "" "Supplementary groups after the change."
    NewCapabilities Number "new.capabilities" "Capabilities" "" "" "Effective capabilities after the change."
    ClockTime Number "clock.new_unix_s" "NewTime" "" "" "Time that the clock is set to, seconds since 1970; not there where only the time zone is set."
    Count Number "count" "" "" "" "How many operations the event stands for."
    Message Text "message" "" "message" "message" "What the sensor says, in a sentence."
    Of Text "of" "" "" "" "Source, ring or hook that the sensor speaks of."
    PolicyRule Text "policy.rule" "PolicyRule" "rule.id" "" "Id of the policy's rule; empty where the guard protects itself."
    PolicyMode Text "policy.mode" "" "" "" "enforce or audit."
    PolicyMatched Text "policy.matched" "" "" "" "What of the rule matched: file, place, under, sha256, address; or too-deep, module-from-memory, guard."
    PolicyGeneration Number "policy.generation" "" "rule.version" "" "Number of the policy's generation."
    ContentId Text "content.id" "" "rule.ruleset" "" "Id of the content that was at work."
    ContentRule Text "content.rule" "" "" "" "Id of the rule of the content that it is about: that demanded the action, or was given up first."
    CrashTitle Text "crash.title" "" "error.message" "" "Title of a crash, the same on every machine and build."
    CrashBucket Text "crash.bucket" "" "error.id" "" "Bucket by which the crash is counted, as `watertight triage` gives it."
    CrashDump Text "crash.dump" "" "file.path" "" "Dump of the crash, on the machine where it happened."
}

macro_rules! kinds {
    ($($variant:ident $native:literal $class:ident $category:literal ($ecs_category:literal $ecs_type:literal)
       ($ocsf_class:literal $ocsf_activity:literal) {$($field:ident = $name:literal),*} $doc:literal [$($extra:ident)*])*) => {
        /// A kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind { $(#[doc = $doc] $variant),* }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),*];

            /// The value of `kind` in native JSON.
            #[must_use]
            pub const fn native(self) -> &'static str { match self { $(Self::$variant => $native),* } }
            /// The class whose source delivers it.
            #[must_use]
            pub const fn class(self) -> Class { match self { $(Self::$variant => Class::$class),* } }
            /// The Sigma log source; `None` for what the sensor says of itself.
            #[must_use]
            pub const fn sigma_logsource(self) -> Option<SigmaLogsource> {
                let category = match self { $(Self::$variant => $category),* };
                if category.is_empty() { None } else { Some(SigmaLogsource { category }) }
            }
            /// ECS `event.category` and `event.type`.
            #[must_use]
            pub const fn ecs(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($ecs_category, $ecs_type)),* }
            }
            /// OCSF 1.8 class uid and activity id.
            #[must_use]
            pub const fn ocsf(self) -> (u32, u32) { match self { $(Self::$variant => ($ocsf_class, $ocsf_activity)),* } }
            /// What happened, in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str { match self { $(Self::$variant => $doc),* } }
            /// The fields beyond those of the process that acted.
            #[must_use]
            pub const fn fields(self) -> &'static [Field] { match self { $(Self::$variant => &[$(Field::$extra),*]),* } }
            /// The Sigma name of a field in events of this kind; empty where there is none.
            #[must_use]
            pub const fn sigma_name(self, field: Field) -> &'static str {
                match (self, field) { $($((Self::$variant, Field::$field) => $name,)*)* (_, field) => field.sigma() }
            }
        }
    };
}

kinds! {
    ProcessFork "process.fork" Process "" ("process" "start") (1007 1) {} "A process or thread was created." [ChildPid ChildTid ChildId]
    ProcessExec "process.exec" Process "process_creation" ("process" "start") (1007 1) {} "A process started another program." []
    ProcessExit "process.exit" Process "process_termination" ("process" "end") (1007 2) {ExitSignal = "Signal", Signal = ""} "A process ended." [ExitCode ExitSignal]
    ProcessCredentials "process.credentials" Process "kernel_event" ("process" "change") (1007 5) {Uid = "OldUserId"} "A process changed its user or group ids." [Operations NewUid NewGid NewEuid NewEgid NewGroups NewCapabilities]
    ProcessCapset "process.capset" Process "kernel_event" ("process" "change") (1007 99) {} "A process changed its capabilities." [Operations NewUid NewGid NewEuid NewEgid NewCapabilities]
    ProcessUserns "process.userns_create" Process "kernel_event" ("process" "change") (1007 99) {} "A process created a user namespace." [Operations]
    ProcessSignal "process.signal" Process "kernel_event" ("process" "change") (1007 99) {} "A process sent a signal to a protected process." [Operations Signal TargetPid TargetId TargetExecutable]
    ProcessAccess "process.access" System "process_access" ("process" "access") (1007 3) {Executable = "SourceImage", Operations = "Access"} "A process asked for all of another one (attach). ptrace, process_vm_readv and _writev, /proc/PID/mem and pidfd_getfd ask alike; the kernel does not say which it is." [Operations AccessMode TargetPid TargetId TargetExecutable]
    FileCreate "file.create" File "file_event" ("file" "creation") (1001 1) {} "A file was created." [Operations IsMerged Path IsPathInFileSystem Dev Inode Generation Mode ModeText FileType OpenFlags]
    FileOpenWrite "file.open_write" File "file_event" ("file" "change") (1001 3) {} "A file was opened for writing." [Operations IsMerged Path IsPathInFileSystem Dev Inode Generation Mode ModeText FileType OpenFlags]
    FileRename "file.rename" File "file_rename" ("file" "change") (1001 5) {} "A file was renamed." [Operations IsMerged Path IsPathInFileSystem OldPath IsExchange Dev Inode Generation Mode ModeText FileType]
    FileUnlink "file.unlink" File "file_delete" ("file" "deletion") (1001 4) {} "A name of a file was removed." [Operations IsMerged Path IsPathInFileSystem Dev Inode Generation Mode ModeText FileType]
    FileLink "file.link" File "file_event" ("file" "creation") (1001 1) {} "A hard link was made." [Operations IsMerged Path IsPathInFileSystem OldPath Dev Inode Generation Mode ModeText FileType]
    FileSymlink "file.symlink" File "file_event" ("file" "creation") (1001 1) {} "A symbolic link was made." [Operations IsMerged Path IsPathInFileSystem LinkTarget Dev Mode ModeText FileType]
    FileMkdir "file.mkdir" File "file_event" ("file" "creation") (1001 1) {} "A folder was made." [Operations IsMerged Path IsPathInFileSystem Dev Mode ModeText FileType]
    FileFifo "file.fifo" File "pipe_created" ("file" "creation") (1001 1) {Path = "PipeName"} "A named pipe was made." [Operations IsMerged Path IsPathInFileSystem Dev Inode Mode ModeText FileType]
    FileFifoOpen "file.fifo_open" File "pipe_created" ("file" "access") (1001 14) {Path = "PipeName"} "A named pipe was opened." [Operations Path IsPathInFileSystem Dev Inode Generation Mode ModeText FileType OpenFlags]
    FileMknod "file.mknod" File "file_event" ("file" "creation") (1001 1) {} "A device or socket file was made." [Operations IsMerged Path IsPathInFileSystem Dev Mode ModeText FileType]
    FileChmod "file.chmod" File "file_change" ("file" "change") (1001 6) {} "Permissions of a file were changed." [Operations Path IsPathInFileSystem Dev Inode Generation Mode ModeText FileType]
    FileChown "file.chown" File "file_change" ("file" "change") (1001 6) {} "Owner of a file was changed." [Operations Path IsPathInFileSystem Dev Inode Generation Mode ModeText FileUid FileGid FileType]
    FileSetxattr "file.setxattr" File "file_change" ("file" "change") (1001 6) {} "An extended attribute was set. The path begins at the root of the file's own file system." [Operations Path IsPathInFileSystem Dev Inode Generation Mode ModeText Attribute FileType]
    FileTruncate "file.truncate" File "file_change" ("file" "change") (1001 3) {} "A file's size was set." [Operations Path IsPathInFileSystem Dev Inode Generation Mode ModeText Size FileType]
    FileChange "file.change" File "file_change" ("file" "change") (1001 6) {} "Attributes of a file were changed; the source can't say which." [Operations IsMerged Path FileType]
    UnixBind "unix.bind" File "pipe_created" ("network" "start") (1001 1) {Path = "PipeName"} "A unix socket was bound to a name." [Operations Path Family Protocol]
    UnixConnect "unix.connect" File "network_connection" ("network" "connection") (4001 1) {} "A connection to a unix socket." [Operations Path Family Protocol IsInitiated]
    NetworkConnect "network.connect" Network "network_connection" ("network" "connection") (4001 1) {} "A connection is opened: told once for each attempt, before it succeeds or fails." [Operations Family Protocol SocketId LocalAddress LocalPort RemoteAddress RemotePort IsInitiated]
    NetworkEstablished "network.established" Network "" ("network" "connection") (4001 1) {} "A connection that this machine opened is there: the end of what network.connect began." [Operations Family Protocol SocketId LocalAddress LocalPort RemoteAddress RemotePort IsInitiated]
    NetworkBind "network.bind" Network "network_connection" ("network" "start") (4001 99) {} "A socket was bound to an address." [Operations Family Protocol SocketId LocalAddress LocalPort]
    NetworkListen "network.listen" Network "network_connection" ("network" "start") (4001 7) {} "A socket began to listen." [Operations Family Protocol SocketId LocalAddress LocalPort]
    NetworkAccept "network.accept" Network "network_connection" ("network" "connection") (4001 1) {} "A connection was accepted." [Operations Family Protocol SocketId LocalAddress LocalPort RemoteAddress RemotePort IsInitiated]
    NetworkSend "network.send" Network "network_connection" ("network" "connection") (4001 6) {} "A first message to a peer without a connection." [Operations Family Protocol SocketId LocalAddress LocalPort RemoteAddress RemotePort IsInitiated]
    NetworkFailed "network.failed" Network "" ("network" "connection") (4001 4) {} "A connection that this machine opened could not be: refused, unreachable or too late." [Operations Family Protocol SocketId LocalAddress LocalPort RemoteAddress RemotePort IsInitiated]
    NetworkClose "network.close" Network "" ("network" "end") (4001 2) {} "A connection was over when a poll of the kernel's table first saw it." [Operations Family Protocol SocketId LocalAddress LocalPort RemoteAddress RemotePort]
    MemoryMap "memory.map" System "image_load" ("library" "start") (1005 1) {Path = "ImageLoaded", IsMemfd = ""} "A file or memory was mapped executable. The program that an exec maps is told by `process.exec` alone, unless it has no name any more." [Operations Path IsPathInFileSystem Dev Inode Generation Protection MapFlags MappedMemfd]
    MemoryProtect "memory.protect" System "image_load" ("process" "change") (1005 1) {Path = "ImageLoaded", IsMemfd = ""} "Memory was made executable." [Operations Path IsPathInFileSystem Dev Inode Generation Protection MapFlags MappedMemfd]
    ModuleLoad "module.load" System "driver_load" ("driver" "start") (1002 1) {Path = "ImageLoaded"} "A module, firmware or kernel image is loaded." [Operations ModuleName Path IsPathInFileSystem Dev Inode Generation]
    BpfUse "bpf.use" System "kernel_event" ("driver" "start") (1003 99) {} "A BPF program or map is created or opened." [Operations Command BpfType BpfName]
    PerfOpen "perf.open" System "kernel_event" ("driver" "start") (1003 99) {} "A performance event is opened." [Operations PerfAccess PerfType PerfConfig]
    Mount "mount.change" System "kernel_event" ("file" "change") (1001 12) {Path = "Target"} "A file system is mounted, moved, unmounted or made the root." [Operations Path IsPathInFileSystem MountSource FsType MountRoot IsDetached MountFlags]
    IoUring "io_uring.use" System "kernel_event" ("process" "change") (1007 99) {} "An io_uring with a kernel thread or other credentials." [Operations]
    TimeSet "time.set" System "kernel_event" ("host" "change") (1007 99) {} "The clock or the time zone is set." [Operations ClockTime]
    PolicyDenied "policy.denied" System "kernel_event" ("intrusion_detection" "denied") (1007 99) {} "The guard, or denial by fanotify, refused an operation." [Operations PolicyRule PolicyMode PolicyMatched PolicyGeneration Path IsPathInFileSystem Dev Inode Generation FileType Family RemoteAddress RemotePort]
    PolicyAudited "policy.audited" System "kernel_event" ("intrusion_detection" "info") (1007 99) {} "A rule in audit mode would have refused an operation." [Operations PolicyRule PolicyMode PolicyMatched PolicyGeneration Path IsPathInFileSystem Dev Inode Generation FileType Family RemoteAddress RemotePort]
    ResponseAction "response.action" Sensor "" ("intrusion_detection" "info") (1007 99) {} "What became of an action that a rule demanded: carried out, refused, or only told." [Of ContentRule TargetPid TargetExecutable Message]
    SensorGap "sensor.gap" Sensor "" ("host" "info") (1007 99) {} "Events could not be delivered for a while." [Of Count Message]
    SensorOverflow "sensor.overflow" Sensor "" ("host" "info") (1007 99) {} "A source lost events." [Of Count Message]
    SensorLoss "sensor.loss" Sensor "" ("host" "info") (1007 99) {} "Events were lost in the kernel because a ring was full; how many is exact." [Of Count Message]
    SensorAggregated "sensor.aggregated" Sensor "" ("host" "info") (1007 99) {} "Operations of a process were counted instead of reported, under pressure." [Of Count Operations Message]
    SensorMode "sensor.mode" Sensor "" ("host" "info") (1007 99) {} "The sensor changed how it collects." [Of Count Message]
    ContentOverBudget "content.over_budget" Sensor "" ("host" "info") (1007 99) {} "Rules saw less of events than was there, or were given up, because that would have cost too much. At most one a second for each cause, and for each correlation whose state is full." [Of Count ContentRule Message]
    HostCrash "host.crash" Sensor "" ("host" "info") (1007 99) {} "The kernel of an earlier boot saved while it died what it had to say. Told once, when the record is picked up, with the content that was at work then by what lies in the slots." [Of CrashTitle CrashBucket ContentId Message]
    SensorCrash "sensor.crash" Sensor "" ("host" "info") (1007 99) {} "A worker of ours crashed, and its dump was triaged." [Of CrashTitle CrashBucket CrashDump ContentId ContentRule Message]
}

impl Field {
    /// Up to here, fields tell of the process that acted.
    pub(crate) const LAST_OF_PROCESS: Self = Self::Depth;

    /// The field with this native name.
    #[must_use]
    pub fn from_native(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.native() == name)
    }

    /// Fields that tell of the process that acted, in every event whose hook runs in that process's context.
    #[must_use]
    pub fn is_of_process(self) -> bool {
        self <= Self::LAST_OF_PROCESS
    }
}

impl Kind {
    /// The kind with this native name.
    #[must_use]
    pub fn from_native(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.native() == name)
    }
}
