//! Paths, as the kernel programs walk them: names from the leaf upwards, until the machine's root or as far as they got.

use watertight_event::{Event, Field, Text};
use watertight_sensor_abi::Attachment;

/// A path from its names, leaf first. One that does not reach a root is marked as cut, unless it never had one (memfd).
pub(crate) fn path_text(attachment: &Attachment<'_>) -> Text {
    let is_truncated = attachment.is_cut || attachment.is_unreadable;
    let mut bytes = Vec::with_capacity(attachment.bytes.len().saturating_add(1));
    let names = names_of(attachment);
    if is_lone_name(attachment) {
        if names.starts_with(b"memfd:") {
            bytes.push(b'/'); // as /proc and every other tool shows it
        }
        bytes.extend_from_slice(names);
        return Text { bytes: bytes.into(), is_truncated };
    }
    for name in names.rsplit(|byte| *byte == 0).filter(|name| *name != b"/") {
        bytes.push(b'/');
        bytes.extend_from_slice(name);
    }
    if bytes.is_empty() {
        bytes.push(b'/');
    }
    Text { bytes: bytes.into(), is_truncated }
}

/// Each name ends in a NUL; what follows the last one is padding of a damaged record.
fn names_of<'r>(attachment: &Attachment<'r>) -> &'r [u8] {
    let end = attachment.bytes.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    attachment.bytes.get(..end).unwrap_or_default()
}

/// One name that stands for no place: memory, a socket, a pipe.
fn is_lone_name(attachment: &Attachment<'_>) -> bool {
    let names = names_of(attachment);
    attachment.is_detached && !names.is_empty() && !names.contains(&0)
}

/// A walk that ended at the root of a file system found no mount on its way.
pub(crate) fn flag_path(event: &mut Event, path: Option<&Attachment<'_>>) {
    if path.is_some_and(|path| path.is_detached && !is_lone_name(path)) {
        event.set(Field::IsPathInFileSystem, true);
    }
}

/// This hook tells no mount: what has one name only lies in the root of its file system.
pub(crate) fn set_path_in_file_system(event: &mut Event, path: &Attachment<'_>) {
    let mut text = path_text(path);
    if !text.bytes.starts_with(b"/") {
        text.bytes = [b"/", &*text.bytes].concat().into();
    }
    event.set(Field::Path, text);
    event.set(Field::IsPathInFileSystem, true);
}

#[cfg(test)]
mod tests {
    use watertight_sensor_abi::{
        File, Header, Hook, Process, Record, RecordType, System, Tag, Target, ABI_VERSION, ATTACHMENT_DETACHED,
        FLAG_HAS_PROCESS,
    };

    use super::*;
    use crate::ids::ProcessIds;
    use crate::translate::translate;

    /// The event of a record with this body and, if there are names, this path.
    fn told(hook: Hook, record: RecordType, body: &[u8], path: Option<(&[u8], u16)>) -> Event {
        let mut rest = Vec::new();
        Process::default().write(&mut rest);
        rest.extend_from_slice(body);
        if let Some((names, flags)) = path {
            rest.extend_from_slice(&(Tag::Path as u16).to_le_bytes());
            rest.extend_from_slice(&flags.to_le_bytes());
            rest.extend_from_slice(&u32::try_from(names.len()).expect("short").to_le_bytes());
            rest.extend_from_slice(names);
            rest.resize(rest.len().next_multiple_of(8), 0);
        }
        let header = Header {
            version: ABI_VERSION,
            record: record as u16,
            hook: hook as u16,
            flags: FLAG_HAS_PROCESS,
            bytes: u32::try_from(Header::BYTES + rest.len()).expect("short"),
            ..Header::default()
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend_from_slice(&rest);
        translate(&Record::read(&bytes).expect("a good record"), &mut ProcessIds::new("b"))
    }

    fn of_file(hook: Hook, names: &[u8], flags: u16) -> (String, bool) {
        let mut body = Vec::new();
        File::default().write(&mut body);
        let event = told(hook, RecordType::File, &body, Some((names, flags)));
        (event.text(Field::Path).expect("a path").into_owned(), event.has(Field::IsPathInFileSystem))
    }

    #[test]
    fn a_path_that_ends_at_its_file_system_is_flagged_and_a_whole_one_is_not() {
        assert_eq!(of_file(Hook::FileOpen, b"f\0tmp\0", 0), ("/tmp/f".into(), false));
        assert_eq!(of_file(Hook::FileOpen, b"f\0d\0", ATTACHMENT_DETACHED), ("/d/f".into(), true));
        assert_eq!(of_file(Hook::FileSetxattr, b"f\0d\0", ATTACHMENT_DETACHED), ("/d/f".into(), true));
        assert_eq!(of_file(Hook::FileSetxattr, b"f\0", ATTACHMENT_DETACHED), ("/f".into(), true));
    }

    #[test]
    fn memory_without_a_place_keeps_its_name_and_is_in_no_file_system() {
        assert_eq!(of_file(Hook::FileOpen, b"memfd:x\0", ATTACHMENT_DETACHED), ("/memfd:x".into(), false));
    }

    #[test]
    fn an_access_is_told_by_its_mode_and_counts_nothing() {
        let mut body = Vec::new();
        Target { pid: 7, what: 0x12, start_ns: 1 }.write(&mut body);
        let json = told(Hook::PtraceAccess, RecordType::Target, &body, None).to_json();
        assert_eq!(json["access"]["mode"], serde_json::json!(["attach", "realcreds"]));
        assert_eq!(json["operations"], serde_json::json!(["attach"]));
        assert!(json.get("count").is_none(), "{json}");
    }

    #[test]
    fn a_counter_is_told_as_far_as_the_kernel_tells_it_and_is_no_bpf() {
        let perf = |command, value| {
            let mut body = Vec::new();
            System { command, what: 2, value }.write(&mut body);
            let json = told(Hook::PerfOpen, RecordType::System, &body, None).to_json();
            assert!(json.get("bpf").is_none(), "{json}");
            json["perf"].clone()
        };
        assert_eq!(perf(u32::MAX, 0), serde_json::json!({ "access": "kernel" }));
        assert_eq!(perf(1, 9), serde_json::json!({ "access": "kernel", "type": 1, "config": 9 }));
    }
}
