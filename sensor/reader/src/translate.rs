//! A record of the kernel sensor as an event of the event model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use watertight_event::{Event, Field, Kind, Outcome, Source, Text, Value};
use watertight_sensor_abi::{
    Attachment, Body, Exec, File, Hook, HookClass, Process, Record, Socket, System, Tag, Target, FLAG_WAS_THERE,
};

use crate::access;
use crate::exchange::is_exchange;
use crate::ids::ProcessIds;
use crate::path::{flag_path, path_text, set_path_in_file_system};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const TCP_ESTABLISHED: u16 = 1;
const TCP_SYN_SENT: u16 = 2;
const TCP_LISTEN: u16 = 10;
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFREG: u32 = 0o100_000;
/// How the path of a memfd begins.
const MEMFD: &[u8] = b"/memfd:";
/// Magic number of tmpfs, where a memfd lives.
const TMPFS_MAGIC: u32 = 0x0102_1994;
/// In place of a counter's type, where the kernel does not tell it.
const NO_TYPE: u32 = u32::MAX;

/// The event that a record stands for.
#[must_use]
pub fn translate(record: &Record<'_>, ids: &mut ProcessIds) -> Event {
    let (source, outcome) = match record.hook.class() {
        _ if record.header.flags & FLAG_WAS_THERE != 0 => (Source::Iterator, Outcome::Unknown),
        HookClass::Lsm => (Source::BpfLsm, Outcome::Attempted),
        HookClass::Tracepoint => (Source::TpBtf, Outcome::Done),
    };
    let mut event = Event::new(kind(record), outcome, source, record.header.boot_ns);
    event.sequence = Some((record.header.cpu, record.header.sequence));
    if let Some(process) = &record.process {
        set_process(&mut event, process, ids);
    }
    if let Some(operation) = operation(record, &event) {
        event.set(Field::Operations, Value::List(vec![Text::fixed(operation)]));
    }
    match record.body {
        Body::Fork(fork) => {
            event.set(Field::ChildPid, fork.child_pid);
            event.set(Field::ChildTid, fork.child_tid);
            event.set(Field::ChildId, ids.of(fork.child_start_ns, fork.child_pid));
        }
        Body::Exec(exec) => set_exec(&mut event, record, &exec),
        Body::Exit(exit) => {
            event.set(Field::ExitCode, exit.code);
            event.set(Field::ExitSignal, exit.signal);
        }
        Body::Credentials(new) => {
            event.set(Field::NewUid, new.uid);
            event.set(Field::NewGid, new.gid);
            event.set(Field::NewEuid, new.euid);
            event.set(Field::NewEgid, new.egid);
            event.set(Field::NewCapabilities, new.capabilities);
            if let Some(groups) = record.attachment(Tag::Groups) {
                event.set(Field::NewGroups, group_list(groups));
            }
        }
        Body::Target(target) => set_target(&mut event, record.hook, &target, ids),
        Body::File(file) => {
            set_file(&mut event, record, &file);
            if is_exchange(record, &event) {
                event.set(Field::IsExchange, true);
            }
        }
        Body::Socket(socket) => set_socket(&mut event, record, &socket),
        Body::System(system) => set_system(&mut event, record, &system),
    }
    event
}

fn kind(record: &Record<'_>) -> Kind {
    let is_unix = matches!(record.body, Body::Socket(Socket { family: AF_UNIX, .. }));
    let mode = match record.body {
        Body::File(file) => file.mode & S_IFMT,
        _ => 0,
    };
    match record.hook {
        Hook::TaskFork => Kind::ProcessFork,
        Hook::TaskExec => Kind::ProcessExec,
        Hook::TaskExit => Kind::ProcessExit,
        Hook::SockState => sock_state_kind(record),
        Hook::TaskFixSetuid | Hook::TaskFixSetgid | Hook::TaskFixSetgroups => Kind::ProcessCredentials,
        Hook::Capset => Kind::ProcessCapset,
        Hook::UsernsCreate => Kind::ProcessUserns,
        Hook::FileOpen if mode == S_IFIFO => Kind::FileFifoOpen,
        Hook::FileOpen => Kind::FileOpenWrite,
        Hook::FileMknod if mode == S_IFIFO => Kind::FileFifo,
        Hook::FileMknod if mode == S_IFREG || mode == 0 => Kind::FileCreate,
        Hook::FileMknod => Kind::FileMknod,
        Hook::FileRename => Kind::FileRename,
        Hook::FileUnlink | Hook::FileRmdir => Kind::FileUnlink,
        Hook::FileLink => Kind::FileLink,
        Hook::FileSymlink => Kind::FileSymlink,
        Hook::FileMkdir => Kind::FileMkdir,
        Hook::FileChmod => Kind::FileChmod,
        Hook::FileChown => Kind::FileChown,
        Hook::FileSetxattr => Kind::FileSetxattr,
        Hook::FileTruncate | Hook::FileFtruncate => Kind::FileTruncate,
        Hook::SockConnect if is_unix => Kind::UnixConnect,
        Hook::SockConnect => Kind::NetworkConnect,
        Hook::SockBind if is_unix => Kind::UnixBind,
        Hook::SockBind => Kind::NetworkBind,
        Hook::SockListen => Kind::NetworkListen,
        Hook::SockAccept => Kind::NetworkAccept,
        Hook::SockSend => Kind::NetworkSend,
        Hook::MemoryMap => Kind::MemoryMap,
        Hook::MemoryProtect => Kind::MemoryProtect,
        Hook::KernelReadFile | Hook::KernelLoadData => Kind::ModuleLoad,
        Hook::BpfUse | Hook::BpfMap => Kind::BpfUse,
        Hook::PerfOpen => Kind::PerfOpen,
        Hook::PtraceAccess => Kind::ProcessAccess,
        Hook::Mount | Hook::Umount | Hook::MoveMount | Hook::PivotRoot => Kind::Mount,
        Hook::TaskKill => Kind::ProcessSignal,
        Hook::UringSqpoll | Hook::UringCreds => Kind::IoUring,
        Hook::TimeSet => Kind::TimeSet,
    }
}

fn sock_state_kind(record: &Record<'_>) -> Kind {
    let Body::Socket(socket) = record.body else { return Kind::NetworkFailed };
    match (socket.old_state, socket.new_state) {
        (_, TCP_SYN_SENT) => Kind::NetworkConnect,
        (TCP_SYN_SENT, TCP_ESTABLISHED) => Kind::NetworkEstablished,
        (_, TCP_LISTEN) => Kind::NetworkListen,
        (_, TCP_ESTABLISHED) => Kind::NetworkAccept,
        _ => Kind::NetworkFailed,
    }
}

/// What Sigma's `Operation` says, where the kind alone does not.
fn operation(record: &Record<'_>, event: &Event) -> Option<&'static str> {
    Some(match record.hook {
        Hook::TaskFork | Hook::TaskExec | Hook::TaskExit => return None,
        Hook::TaskFixSetuid => "setuid",
        Hook::TaskFixSetgid => "setgid",
        Hook::TaskFixSetgroups => "setgroups",
        Hook::Capset => "capset",
        Hook::UsernsCreate => "userns_create",
        Hook::Mount => "mount",
        Hook::Umount => "umount",
        Hook::MoveMount => "move_mount",
        Hook::PivotRoot => "pivot_root",
        Hook::BpfUse => "bpf_load",
        Hook::BpfMap => "bpf_map",
        Hook::PerfOpen => "perf_event_open",
        Hook::UringSqpoll => "io_uring_sqpoll",
        Hook::UringCreds => "io_uring_creds",
        Hook::TimeSet => "time_set",
        Hook::TaskKill => "signal",
        Hook::MemoryMap => "mmap",
        Hook::MemoryProtect => "mprotect",
        Hook::PtraceAccess => match record.body {
            Body::Target(target) => access::operation(target.what),
            _ => return None,
        },
        Hook::KernelReadFile | Hook::KernelLoadData => loaded(record),
        _ => event.kind.native().split_once('.').map_or("", |(_, name)| name),
    })
}

/// `enum kernel_read_file_id`, which is `enum kernel_load_data_id` too.
fn loaded(record: &Record<'_>) -> &'static str {
    match record.body {
        Body::System(System { command: 1, .. }) => "firmware",
        Body::System(System { command: 3 | 4, .. }) => "kexec",
        Body::System(System { command: 5, .. }) => "policy",
        Body::System(System { command: 6, .. }) => "certificate",
        _ => "module",
    }
}

pub(crate) fn set_process(event: &mut Event, process: &Process, ids: &mut ProcessIds) {
    event.set(Field::Pid, process.pid);
    event.set(Field::Tid, process.tid);
    event.set(Field::ProcessId, ids.of(process.start_ns, process.pid));
    event.set(Field::StartNs, process.start_ns);
    event.set(Field::Comm, Text::whole(until_nul(&process.comm)));
    event.set(Field::Uid, process.uid);
    event.set(Field::Gid, process.gid);
    event.set(Field::Euid, process.euid);
    event.set(Field::Egid, process.egid);
    event.set(Field::LoginUid, process.loginuid);
    event.set(Field::Capabilities, process.capabilities);
    event.set(Field::PidNs, process.pid_ns);
    event.set(Field::MntNs, process.mnt_ns);
    event.set(Field::UserNs, process.user_ns);
    event.set(Field::CgroupId, process.cgroup_id);
    event.set(Field::ParentPid, process.parent_pid);
    if process.parent_pid != 0 {
        event.set(Field::ParentId, ids.of(process.parent_start_ns, process.parent_pid));
    }
}

fn set_exec(event: &mut Event, record: &Record<'_>, exec: &Exec) {
    let path = record.attachment(Tag::Executable).map(path_text);
    let is_memfd = exec.links == 0
        && exec.fs_magic == TMPFS_MAGIC
        && path.as_ref().is_some_and(|text| text.bytes.starts_with(MEMFD));
    let has_path = path.is_some();
    if let Some(text) = path {
        event.set(Field::Executable, text);
    }
    event.set(Field::ExecutableDev, exec.dev);
    event.set(Field::ExecutableInode, exec.inode);
    event.set(Field::ExecutableGeneration, exec.generation);
    if has_path {
        event.set(Field::IsMemfd, is_memfd);
        event.set(Field::IsDeleted, exec.links == 0 && !is_memfd);
    }
    if let Some(argv) = record.attachment(Tag::Argv) {
        let items = arguments(argv.bytes);
        let mut line = items.iter().map(|item| &*item.bytes).collect::<Vec<_>>().join(&b' ');
        line.retain(|byte| *byte != 0);
        let is_cut = argv.is_cut || argv.is_unreadable;
        let is_unread = argv.is_unreadable && items.is_empty();
        event.set(Field::Argv, if is_cut { Value::CutList(items) } else { Value::List(items) });
        event.set(Field::ArgvBytes, exec.argv_bytes);
        // Arguments that could not be read are not the same as none: an empty command line is a sign of its own.
        if !is_unread {
            event.set(Field::CommandLine, Text { bytes: line.into(), is_truncated: is_cut });
        }
    } else {
        event.set(Field::ArgvBytes, exec.argv_bytes);
    }
    if let Some(cwd) = record.attachment(Tag::Cwd) {
        event.set(Field::Cwd, path_text(cwd));
    }
    if let Some(cgroup) = record.attachment(Tag::Cgroup) {
        event.set(Field::CgroupPath, path_text(cgroup));
    }
    if let Some(interpreter) = record.attachment(Tag::Interpreter) {
        event.set(Field::Interpreter, string_text(interpreter));
    }
}

fn set_target(event: &mut Event, hook: Hook, target: &Target, ids: &mut ProcessIds) {
    event.set(Field::TargetPid, target.pid);
    event.set(Field::TargetId, ids.of(target.start_ns, target.pid));
    if hook == Hook::TaskKill {
        event.set(Field::Signal, target.what);
    } else {
        event.set(Field::AccessMode, Value::List(access::ptrace_mode(target.what)));
    }
}

fn set_file(event: &mut Event, record: &Record<'_>, file: &File) {
    let path = record.attachment(Tag::Path).map(path_text);
    let is_memory = matches!(record.hook, Hook::MemoryMap | Hook::MemoryProtect);
    let is_memfd = path.as_ref().filter(|_| is_memory).map(|text| text.bytes.starts_with(MEMFD));
    if let Some(text) = path {
        event.set(Field::Path, text);
    }
    match record.attachment(Tag::Path) {
        Some(path) if record.hook == Hook::FileSetxattr => set_path_in_file_system(event, path),
        path => flag_path(event, path),
    }
    if let Some(path) = record.attachment(Tag::OldPath) {
        event.set(Field::OldPath, path_text(path));
    }
    let name = record.attachment(Tag::Name).map(string_text);
    let (target, attribute) = if record.hook == Hook::FileSymlink { (name, None) } else { (None, name) };
    if let Some(text) = target {
        event.set(Field::LinkTarget, text);
    }
    event.set(Field::Dev, file.dev);
    if file.inode != 0 {
        event.set(Field::Inode, file.inode);
        event.set(Field::Generation, file.generation);
    }
    if file.mode != 0 && !is_memory {
        let digits = [9, 6, 3, 0].map(|shift| b"01234567"[(file.mode >> shift & 7) as usize]);
        event.set(Field::Mode, file.mode);
        event.set(Field::ModeText, Text::whole(digits));
        event.set(Field::FileType, Text::fixed(file_type(file.mode)));
    }
    if let Some(text) = attribute {
        event.set(Field::Attribute, text);
    }
    if let Some(is_memfd) = is_memfd {
        event.set(Field::MappedMemfd, is_memfd);
    }
    match record.hook {
        Hook::MemoryMap | Hook::MemoryProtect => {
            event.set(Field::Protection, file.flags);
            event.set(Field::MapFlags, file.size);
        }
        Hook::FileOpen => event.set(Field::OpenFlags, file.flags),
        Hook::FileChown => {
            event.set(Field::FileUid, file.uid);
            event.set(Field::FileGid, file.gid);
        }
        _ => {}
    }
}

pub(crate) fn file_type(mode: u32) -> &'static str {
    match mode & S_IFMT {
        0o040_000 => "dir",
        0o120_000 => "symlink",
        S_IFIFO => "fifo",
        0o140_000 => "socket",
        0o060_000 => "block",
        0o020_000 => "char",
        _ => "file",
    }
}

fn set_socket(event: &mut Event, record: &Record<'_>, socket: &Socket) {
    if socket.family == AF_UNIX {
        event.set(Field::Family, Text::fixed("unix"));
        event.set(Field::Protocol, Text::fixed("unix"));
        if let Some(name) = record.attachment(Tag::Name) {
            let mut text = string_text(name);
            if socket.old_state == 1 {
                text.bytes = [b"@", name.bytes].concat().into(); // an abstract name, as ss(8) shows it
            }
            event.set(Field::Path, text);
        }
        if record.hook == Hook::SockConnect {
            event.set(Field::IsInitiated, true);
        }
        return;
    }
    let address = |bytes: &[u8; 16]| -> IpAddr {
        let [a, b, c, d, ..] = *bytes;
        if socket.family == AF_INET {
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            // An IPv4 peer of an IPv6 socket is an IPv4 address to everybody who looks for it.
            Ipv6Addr::from(*bytes).to_canonical()
        }
    };
    let is_v4 = socket.family == AF_INET || address(&socket.remote).is_ipv4() || address(&socket.local).is_ipv4();
    event.set(Field::Family, if is_v4 { "ipv4" } else { "ipv6" });
    match socket.protocol {
        6 => event.set(Field::Protocol, Text::fixed("tcp")),
        17 => event.set(Field::Protocol, Text::fixed("udp")),
        other => event.set(Field::Protocol, other.to_string().as_str()),
    }
    event.set(Field::SocketId, socket.cookie);
    event.set(Field::LocalAddress, address(&socket.local));
    event.set(Field::LocalPort, u64::from(socket.local_port));
    if !matches!(event.kind, Kind::NetworkBind | Kind::NetworkListen) {
        event.set(Field::RemoteAddress, address(&socket.remote));
        event.set(Field::RemotePort, u64::from(socket.remote_port));
    }
    match event.kind {
        Kind::NetworkConnect | Kind::NetworkEstablished | Kind::NetworkSend | Kind::NetworkFailed => {
            event.set(Field::IsInitiated, true);
        }
        Kind::NetworkAccept => event.set(Field::IsInitiated, false),
        _ => {}
    }
    if record.hook == Hook::SockState && socket.new_state == TCP_SYN_SENT {
        event.outcome = Outcome::Attempted;
    }
    if record.hook == Hook::SockAccept {
        event.outcome = Outcome::Done; // sock_graft runs once the connection is there
    }
}

fn set_system(event: &mut Event, record: &Record<'_>, system: &System) {
    if let Some(path) = record.attachment(Tag::Path) {
        event.set(Field::Path, path_text(path));
        flag_path(event, Some(path));
    }
    let name = record.attachment(Tag::Name).map(string_text);
    match record.hook {
        Hook::KernelReadFile | Hook::KernelLoadData => {
            let module = event.text(Field::Path).and_then(|path| path.rsplit('/').next().map(str::to_owned));
            if let Some(module) = module {
                event.set(Field::ModuleName, module.as_str());
            }
        }
        Hook::PerfOpen => {
            event.set(Field::PerfAccess, access::perf_question(system.what));
            if system.command != NO_TYPE {
                event.set(Field::PerfType, system.command);
                event.set(Field::PerfConfig, system.value);
            }
        }
        Hook::BpfUse | Hook::BpfMap => {
            event.set(Field::Command, system.command);
            event.set(Field::BpfType, system.what);
            if let Some(name) = name {
                event.set(Field::BpfName, name);
            }
        }
        Hook::Mount | Hook::Umount | Hook::MoveMount | Hook::PivotRoot => {
            event.set(Field::MountFlags, system.value);
            if record.hook == Hook::MoveMount {
                set_moved(event, record, system, name);
                return;
            }
            let from = record.attachment(Tag::OldPath).map(path_text).or(name);
            if let Some(from) = from {
                event.set(Field::MountSource, from);
            }
            if let Some(kind) = record.attachment(Tag::Type) {
                event.set(Field::FsType, string_text(kind));
            }
        }
        Hook::TimeSet if system.value != 0 => event.set(Field::ClockTime, system.value),
        _ => {}
    }
}

/// A mount that is moved comes from a path. One that is put somewhere for the first time has none: what it was made of tells
/// what it is.
fn set_moved(event: &mut Event, record: &Record<'_>, system: &System, made_of: Option<Text>) {
    let is_detached = system.what == 1;
    event.set(Field::IsDetached, is_detached);
    let old_path = record.attachment(Tag::OldPath).map(path_text);
    let (source, root) = if is_detached { (made_of, old_path) } else { (old_path, None) };
    if let Some(source) = source {
        event.set(Field::MountSource, source);
    }
    if let Some(root) = root {
        event.set(Field::MountRoot, root);
    }
    if let Some(kind) = record.attachment(Tag::Type) {
        event.set(Field::FsType, string_text(kind));
    }
}

fn string_text(attachment: &Attachment<'_>) -> Text {
    Text { bytes: attachment.bytes.into(), is_truncated: attachment.is_cut || attachment.is_unreadable }
}

/// Arguments are NUL-terminated; a cut list may end without one.
fn arguments(bytes: &[u8]) -> Vec<Text> {
    let whole = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    whole.split(|byte| *byte == 0).map(Text::whole).collect()
}

fn group_list(attachment: &Attachment<'_>) -> Value {
    let (groups, _) = attachment.bytes.as_chunks::<4>();
    let items = groups.iter().map(|group| Text::from(u32::from_le_bytes(*group).to_string().as_str())).collect();
    if attachment.is_cut || attachment.is_unreadable {
        Value::CutList(items)
    } else {
        Value::List(items)
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
