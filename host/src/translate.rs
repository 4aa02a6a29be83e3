//! What the fallback sources saw, as events of the event model. They see no outcome but success and give no kernel time, so
//! the time is that of reading.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use watertight_event::{Event, Field, Kind, Outcome, Source, Text, Value};
use watertight_sensor_fallback::observed::Kind as FileKind;
use watertight_sensor_fallback::{
    Connection, Family, FileChange, Observed, OperationSet, Process, Protocol, SocketState, Source as Fallback,
};

use crate::tree::TICK_NS;

/// The event that an observation stands for; `None` for what the model has no place for.
#[must_use]
pub fn event_of(observed: Observed, now_boot_ns: u64) -> Option<Event> {
    Some(match observed {
        Observed::Fork { parent_tgid, child_pid, child_tgid, .. } => {
            if child_pid != child_tgid {
                return None; // a thread
            }
            Event::new(Kind::ProcessFork, Outcome::Done, Source::ProcConnector, now_boot_ns)
                .with(Field::Pid, id(parent_tgid))
                .with(Field::ChildPid, id(child_tgid))
                .with(Field::ChildTid, id(child_pid))
        }
        Observed::Exec { tgid, process, .. } => {
            let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::ProcConnector, now_boot_ns);
            match process {
                Some(process) => with_process(event, &process),
                None => event.with(Field::Pid, id(tgid)),
            }
        }
        Observed::Exit { pid, tgid, exit_code, .. } => {
            if pid != tgid {
                return None;
            }
            Event::new(Kind::ProcessExit, Outcome::Done, Source::ProcConnector, now_boot_ns)
                .with(Field::Pid, id(tgid))
                .with(Field::ExitCode, (exit_code >> 8) & 0xff)
                .with(Field::ExitSignal, exit_code & 0x7f)
        }
        Observed::ProcessSeen { process, .. } => {
            with_process(Event::new(Kind::ProcessExec, Outcome::Unknown, Source::ProcPoll, now_boot_ns), &process)
        }
        Observed::ProcessGone { pid, .. } => {
            Event::new(Kind::ProcessExit, Outcome::Done, Source::ProcPoll, now_boot_ns).with(Field::Pid, id(pid))
        }
        Observed::File(change) => file(&change, now_boot_ns),
        Observed::Connection(connection) => return socket(&connection, now_boot_ns),
        Observed::Overflow { source } => {
            Event::new(Kind::SensorOverflow, Outcome::Unknown, Source::Sensor, now_boot_ns)
                .with(Field::Of, source.to_string().as_str())
                .with(Field::Message, "the kernel dropped events of this source; it does not say how many")
        }
        Observed::WatchEnded { source, place } => {
            Event::new(Kind::SensorMode, Outcome::Unknown, Source::Sensor, now_boot_ns)
                .with(Field::Of, source.to_string().as_str())
                .with(Field::Message, format!("{} is no longer watched", place.display()).as_str())
        }
        Observed::Credentials { .. } | Observed::Renamed { .. } | Observed::Traced { .. } => return None,
    })
}

/// A process that was there before the sensor, as the event of its start.
#[must_use]
pub fn process_there(process: &Process) -> Event {
    with_process(Event::new(Kind::ProcessExec, Outcome::Unknown, Source::ProcPoll, 0), process)
}

fn with_process(mut event: Event, process: &Process) -> Event {
    event.set(Field::Pid, id(process.pid));
    event.set(Field::ParentPid, id(process.parent_pid));
    event.set(Field::StartNs, process.start_ticks.saturating_mul(TICK_NS));
    event.set(Field::Comm, Text::whole(process.name.clone()));
    event.set(Field::Uid, process.users.real);
    event.set(Field::Gid, process.groups.real);
    event.set(Field::Euid, process.users.effective);
    event.set(Field::Egid, process.groups.effective);
    event.set(Field::Capabilities, process.capabilities_effective);
    if let Some(path) = &process.executable {
        event.set(Field::Executable, path_text(path));
        event.set(Field::IsDeleted, process.executable_deleted);
    }
    if let Some(path) = &process.directory {
        event.set(Field::Cwd, path_text(path));
    }
    if !process.arguments.is_empty() {
        let items: Vec<Text> = process.arguments.iter().map(|item| Text::whole(item.clone())).collect();
        let line = process.arguments.join(&b' ');
        event.set(Field::CommandLine, Text { bytes: line.into(), is_truncated: process.arguments_truncated });
        let is_cut = process.arguments_truncated;
        event.set(Field::Argv, if is_cut { Value::CutList(items) } else { Value::List(items) });
    }
    if let Some(cgroup) = &process.cgroup {
        event.set(Field::CgroupPath, cgroup.as_str());
    }
    if let Some(container) = &process.container {
        event.set(Field::ContainerId, container.id());
    }
    event
}

fn file(change: &FileChange, now_boot_ns: u64) -> Event {
    let has = |operation| change.operations.contains(operation);
    let kind = if has(OperationSet::CREATE) {
        match change.kind {
            Some(FileKind::Fifo) => Kind::FileFifo,
            Some(FileKind::Directory) => Kind::FileMkdir,
            Some(FileKind::Symlink) => Kind::FileSymlink,
            Some(FileKind::Socket | FileKind::Device) => Kind::FileMknod,
            _ if change.links.is_some_and(|links| links > 1) => Kind::FileLink,
            _ => Kind::FileCreate,
        }
    } else if has(OperationSet::RENAME_FROM) || has(OperationSet::RENAME_TO) {
        Kind::FileRename
    } else if has(OperationSet::UNLINK) {
        Kind::FileUnlink
    } else if has(OperationSet::CLOSE_WRITE) {
        Kind::FileOpenWrite
    } else {
        Kind::FileChange
    };
    let source = if change.source == Fallback::Inotify { Source::Inotify } else { Source::Fanotify };
    let name = |operation| operation_name(operation, kind);
    let mut operations: Vec<Text> = change.operations.iter().map(name).map(Text::from).collect();
    operations.dedup();
    let mut event = Event::new(kind, Outcome::Done, source, now_boot_ns)
        .with(Field::Operations, Value::List(operations))
        .with(Field::IsMerged, change.merged);
    let old = joined(change.directory.as_deref(), &change.name);
    match &change.new_name {
        Some(name) => {
            event.set(Field::OldPath, old);
            event.set(Field::Path, joined(change.new_directory.as_deref(), name));
        }
        None => event.set(Field::Path, old),
    }
    if let Some(pid) = change.pid {
        event.set(Field::Pid, id(pid));
    }
    if let Some(kind) = change.kind {
        event.set(
            Field::FileType,
            match kind {
                FileKind::File => "file",
                FileKind::Directory => "dir",
                FileKind::Fifo => "fifo",
                FileKind::Socket => "socket",
                FileKind::Symlink => "symlink",
                FileKind::Device => "device",
            },
        );
    }
    event
}

/// What is made has the name that the kernel's own hooks give it, so that a rule holds for both.
fn operation_name(operation: OperationSet, kind: Kind) -> &'static str {
    match operation {
        OperationSet::CREATE => kind.native().rsplit('.').next().unwrap_or("create"),
        OperationSet::UNLINK => "unlink",
        OperationSet::RENAME_FROM | OperationSet::RENAME_TO => "rename",
        OperationSet::CLOSE_WRITE => "close_write",
        OperationSet::OPEN_EXEC => "open_exec",
        _ => "attributes",
    }
}

/// Sockets that were there at the first look are no events.
fn socket(connection: &Connection, now_boot_ns: u64) -> Option<Event> {
    let kind = match connection.state {
        _ if connection.existing => return None,
        SocketState::Listening => Kind::NetworkListen,
        SocketState::Opening | SocketState::Established => Kind::NetworkConnect,
        SocketState::Closing => Kind::NetworkClose,
    };
    let mut event = Event::new(kind, Outcome::Unknown, Source::SockDiag, now_boot_ns)
        .with(Field::Family, if connection.family == Family::V4 { "ipv4" } else { "ipv6" })
        .with(Field::Protocol, if connection.protocol == Protocol::Tcp { "tcp" } else { "udp" })
        .with(Field::LocalAddress, connection.local.ip())
        .with(Field::LocalPort, u64::from(connection.local.port()));
    if kind != Kind::NetworkListen {
        event.set(Field::RemoteAddress, connection.remote.ip());
        event.set(Field::RemotePort, u64::from(connection.remote.port()));
    }
    if let Some(pid) = connection.pid {
        event.set(Field::Pid, id(pid));
    }
    Some(event)
}

fn joined(directory: Option<&Path>, name: &[u8]) -> Text {
    let Some(directory) = directory else {
        // The folder is gone: the name is all that is left, and its beginning is missing.
        return Text { bytes: name.into(), is_truncated: true };
    };
    let mut bytes = directory.as_os_str().as_bytes().to_vec();
    if name != b"." {
        if !bytes.ends_with(b"/") {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
    }
    Text::whole(bytes)
}

fn path_text(path: &Path) -> Text {
    Text::whole(path.as_os_str().as_bytes())
}

/// Ids are never below zero; a kernel that says otherwise gets 0, which is no process.
fn id(pid: i32) -> u64 {
    u64::try_from(pid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_of_a_file_sets_a_field_that_the_table_does_not_give_it() {
        let kinds = [
            None,
            Some(FileKind::File),
            Some(FileKind::Directory),
            Some(FileKind::Fifo),
            Some(FileKind::Socket),
            Some(FileKind::Symlink),
            Some(FileKind::Device),
        ];
        let operations = [
            OperationSet::CREATE,
            OperationSet::UNLINK,
            OperationSet::RENAME_FROM,
            OperationSet::RENAME_TO,
            OperationSet::ATTRIBUTES,
            OperationSet::CLOSE_WRITE,
            OperationSet::OPEN_EXEC,
        ];
        for (kind, operation) in kinds.into_iter().flat_map(|kind| operations.map(|operation| (kind, operation))) {
            for (links, new_name) in [(1, None), (2, None), (1, Some(b"new".to_vec()))] {
                let change = FileChange {
                    source: Fallback::Fanotify,
                    operations: operation.with(OperationSet::ATTRIBUTES),
                    directory: Some("/tmp".into()),
                    name: b"name".to_vec(),
                    new_directory: new_name.as_ref().map(|_| "/etc".into()),
                    new_name: new_name.filter(|_| operation == OperationSet::RENAME_FROM),
                    pid: Some(7),
                    kind,
                    links: Some(links),
                    merged: true,
                };
                let event = file(&change, 1);
                assert_eq!(event.foreign_fields().next(), None, "{} of {change:?}", event.kind.native());
            }
        }
    }

    #[test]
    fn no_socket_and_no_process_sets_a_field_that_the_table_does_not_give_it() {
        let states = [SocketState::Listening, SocketState::Opening, SocketState::Established, SocketState::Closing];
        for state in states {
            let address = std::net::SocketAddr::from(([10, 0, 0, 1], 80));
            let connection = Connection {
                local: address,
                remote: address,
                state,
                inode: 1,
                uid: 0,
                family: Family::V4,
                protocol: Protocol::Tcp,
                pid: Some(7),
                is_shared: false,
                existing: false,
            };
            assert_eq!(socket(&connection, 1).expect("a new one").foreign_fields().next(), None, "{state:?}");
        }
        let at_ns = 1;
        let observed = [
            Observed::Fork { parent_pid: 1, parent_tgid: 1, child_pid: 2, child_tgid: 2, at_ns },
            Observed::Exec { pid: 2, tgid: 2, at_ns: None, process: None, vanished: true },
            Observed::Exit { pid: 2, tgid: 2, exit_code: 9, exit_signal: 17, at_ns },
            Observed::ProcessGone { pid: 2, start_ticks: 1 },
            Observed::Overflow { source: Fallback::Fanotify },
            Observed::WatchEnded { source: Fallback::Inotify, place: "/etc".into() },
        ];
        for observed in observed {
            assert_eq!(event_of(observed, 1).expect("one that the model has").foreign_fields().next(), None);
        }
    }
}
