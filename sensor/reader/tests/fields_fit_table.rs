//! What the kernel's programs write becomes only fields that the table gives to the kind of event: the reference page and the
//! names that rules may ask for are made from it.

use watertight_sensor_abi::{
    Credentials, Exec, Exit, File, Fork, Header, Hook, Process, Record, RecordType, Socket, System, Tag, Target,
    ABI_VERSION, FLAG_HAS_PROCESS, HOOKS,
};
use watertight_sensor_reader::{translate, ProcessIds};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;

/// Bodies that the hook's program writes, with every number set, in all forms that make another kind of event of it.
fn bodies(hook: Hook) -> Vec<(RecordType, Vec<u8>)> {
    let written = |record, write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        (record, bytes)
    };
    let file = |kind: u32| {
        // What is only now made has no inode yet.
        let inode = if matches!(hook, Hook::FileMknod | Hook::FileMkdir | Hook::FileSymlink) { 0 } else { 7 };
        let file = File { inode, dev: 1, generation: 1, mode: kind | 0o644, flags: 1, uid: 1, gid: 1, size: 1 };
        written(RecordType::File, &|bytes| file.write(bytes))
    };
    let socket = |family: u16, states: (u16, u16)| {
        let (old_state, new_state) = states;
        let socket = Socket { family, protocol: 6, old_state, new_state, cookie: 1, ..Socket::default() };
        written(RecordType::Socket, &|bytes| socket.write(bytes))
    };
    match hook {
        Hook::TaskFork => vec![written(RecordType::Fork, &|bytes| Fork::default().write(bytes))],
        Hook::TaskExec => vec![written(RecordType::Exec, &|bytes| Exec::default().write(bytes))],
        Hook::TaskExit => vec![written(RecordType::Exit, &|bytes| Exit::default().write(bytes))],
        Hook::TaskFixSetuid | Hook::TaskFixSetgid | Hook::TaskFixSetgroups | Hook::Capset => {
            vec![written(RecordType::Credentials, &|bytes| Credentials::default().write(bytes))]
        }
        Hook::PtraceAccess | Hook::TaskKill => {
            vec![written(RecordType::Target, &|bytes| Target { pid: 8, what: 9, start_ns: 1 }.write(bytes))]
        }
        Hook::SockState => [(7, 2), (2, 1), (7, 10), (3, 1), (2, 7)].map(|states| socket(AF_INET, states)).to_vec(),
        Hook::SockListen | Hook::SockAccept | Hook::SockSend => vec![socket(AF_INET, (0, 0))],
        Hook::SockConnect | Hook::SockBind => vec![socket(AF_INET, (0, 0)), socket(AF_UNIX, (1, 0))],
        _ if tags(hook).contains(&Tag::Path) && !is_system(hook) => {
            [0o100_000, 0o040_000, 0o120_000, 0o010_000, 0o020_000, 0o140_000].map(file).to_vec()
        }
        _ => vec![written(RecordType::System, &|bytes| System { command: 1, what: 1, value: 1 }.write(bytes))],
    }
}

fn is_system(hook: Hook) -> bool {
    matches!(hook, Hook::KernelReadFile | Hook::Mount | Hook::Umount | Hook::MoveMount | Hook::PivotRoot)
}

/// What the hook's program appends.
fn tags(hook: Hook) -> &'static [Tag] {
    match hook {
        Hook::TaskExec => &[Tag::Executable, Tag::Argv, Tag::Cwd, Tag::Cgroup, Tag::Interpreter],
        Hook::TaskFixSetgroups => &[Tag::Groups],
        Hook::FileRename | Hook::FileLink | Hook::PivotRoot => &[Tag::OldPath, Tag::Path],
        Hook::FileSymlink | Hook::FileSetxattr => &[Tag::Path, Tag::Name],
        Hook::Mount => &[Tag::Path, Tag::Name, Tag::Type],
        Hook::MoveMount => &[Tag::OldPath, Tag::Path, Tag::Type, Tag::Name],
        Hook::BpfMap | Hook::SockConnect | Hook::SockBind => &[Tag::Name],
        Hook::FileOpen
        | Hook::FileMknod
        | Hook::FileUnlink
        | Hook::FileRmdir
        | Hook::FileMkdir
        | Hook::FileChmod
        | Hook::FileChown
        | Hook::FileTruncate
        | Hook::FileFtruncate
        | Hook::MemoryMap
        | Hook::MemoryProtect
        | Hook::KernelReadFile
        | Hook::Umount => &[Tag::Path],
        _ => &[],
    }
}

#[test]
fn no_record_of_any_hook_sets_a_field_that_the_table_does_not_give_it() {
    let mut foreign = std::collections::BTreeSet::new();
    for hook in HOOKS.iter().copied() {
        for (record, body) in bodies(hook) {
            let mut bytes = Vec::new();
            let (record, number) = (record as u16, hook as u16);
            let header =
                Header { version: ABI_VERSION, record, hook: number, flags: FLAG_HAS_PROCESS, ..Header::default() };
            header.write(&mut bytes);
            Process { pid: 7, ..Process::default() }.write(&mut bytes);
            bytes.extend_from_slice(&body);
            for tag in tags(hook) {
                bytes.extend_from_slice(&(*tag as u16).to_le_bytes());
                bytes.extend_from_slice(&[0; 2]);
                bytes.extend_from_slice(&8_u32.to_le_bytes());
                bytes.extend_from_slice(b"some\0tmp");
            }
            let size = u32::try_from(bytes.len()).expect("short");
            bytes[4..8].copy_from_slice(&size.to_le_bytes());
            let record = Record::read(&bytes).unwrap_or_else(|error| panic!("{hook:?}: {error}"));
            let event = translate(&record, &mut ProcessIds::new("boot"));
            foreign.extend(event.foreign_fields().map(|field| format!("{hook:?}: {} {field:?}", event.kind.native())));
        }
    }
    assert!(foreign.is_empty(), "{foreign:#?}");
}

#[test]
fn the_clock_that_is_set_is_no_size_of_a_file_and_a_time_zone_is_no_time() {
    use watertight_event::Field;
    let of = |value: u64| {
        let mut bytes = Vec::new();
        let (record, hook) = (RecordType::System as u16, Hook::TimeSet as u16);
        let header = Header { version: ABI_VERSION, record, hook, flags: FLAG_HAS_PROCESS, ..Header::default() };
        header.write(&mut bytes);
        Process::default().write(&mut bytes);
        System { command: 0, what: 0, value }.write(&mut bytes);
        let size = u32::try_from(bytes.len()).expect("short");
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        let event = translate(&Record::read(&bytes).expect("as the kernel writes it"), &mut ProcessIds::new("boot"));
        (event.number(Field::ClockTime), event.number(Field::Size))
    };
    assert_eq!(of(1_763_726_400), (Some(1_763_726_400), None));
    assert_eq!(of(0), (None, None));
}
