//! A verdict of the guard as an event: who asked for what, which rule answered, and by what it knew the file or peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use watertight_event::{Event, Field, Kind, Outcome, Source, Value};
use watertight_sensor_abi::{Attachment, Tag, VerdictRecord, POLICY_DENY};

use crate::ids::ProcessIds;
use crate::path::{flag_path, path_text};
use crate::translate::{file_type, set_process};

const AF_INET: u16 = 2;

/// The event that a verdict stands for.
#[must_use]
pub fn translate_verdict(record: &VerdictRecord<'_>, ids: &mut ProcessIds) -> Event {
    let verdict = &record.verdict;
    let is_denied = verdict.mode == POLICY_DENY;
    let (kind, outcome, mode) = if is_denied {
        (Kind::PolicyDenied, Outcome::Denied, "enforce")
    } else {
        (Kind::PolicyAudited, Outcome::Attempted, "audit")
    };
    let mut event = Event::new(kind, outcome, Source::BpfLsm, record.header.boot_ns);
    set_process(&mut event, &record.process, ids);
    event.set(Field::Operations, Value::List(vec![record.operation.name().into()]));
    event.set(Field::PolicyRule, record.rule_id().as_str());
    event.set(Field::PolicyMode, mode);
    event.set(Field::PolicyMatched, record.matched.name());
    event.set(Field::PolicyGeneration, verdict.generation);
    if verdict.inode != 0 {
        event.set(Field::Inode, verdict.inode);
        event.set(Field::Dev, verdict.dev);
        event.set(Field::Generation, verdict.inode_generation);
        event.set(Field::FileType, file_type(verdict.mode_bits));
    }
    if !record.path.is_empty() {
        let path = Attachment {
            tag: Tag::Path,
            bytes: record.path,
            is_cut: record.is_cut,
            is_unreadable: false,
            is_detached: record.is_detached,
        };
        event.set(Field::Path, path_text(&path));
        flag_path(&mut event, Some(&path));
    }
    if verdict.family != 0 {
        let is_v4 = verdict.family == AF_INET;
        let [a, b, c, d, ..] = verdict.address;
        let address =
            if is_v4 { IpAddr::V4(Ipv4Addr::new(a, b, c, d)) } else { IpAddr::V6(Ipv6Addr::from(verdict.address)) };
        event.set(Field::Family, if is_v4 { "ipv4" } else { "ipv6" });
        event.set(Field::RemoteAddress, address);
        event.set(Field::RemotePort, u32::from(verdict.port));
    }
    event
}

#[cfg(test)]
mod tests {
    use watertight_sensor_abi::{EntryKind, GuardHook, Header, Operation, Process, Verdict, POLICY_AUDIT};

    use super::*;

    fn record(verdict: Verdict, path: &[u8]) -> VerdictRecord<'_> {
        VerdictRecord {
            header: Header::default(),
            hook: GuardHook::FileOpen,
            process: Process { pid: 8, ..Process::default() },
            verdict,
            operation: Operation::Exec,
            matched: EntryKind::Folder,
            path,
            is_cut: false,
            is_detached: false,
        }
    }

    #[test]
    fn a_denial_names_the_rule_the_file_and_what_matched() {
        let mut id = [0; 64];
        id[..5].copy_from_slice(b"mines");
        let verdict =
            Verdict { mode: POLICY_DENY, id, inode: 7, mode_bits: 0o100_755, generation: 3, ..Verdict::default() };
        let event = translate_verdict(&record(verdict, b"xmrig\0opt\0"), &mut ProcessIds::new("b"));
        let json = event.to_json();
        assert_eq!((json["kind"].as_str(), json["outcome"].as_str()), (Some("policy.denied"), Some("denied")));
        assert_eq!(json["policy"]["rule"], "mines");
        assert_eq!(json["policy"]["matched"], "under");
        assert_eq!(json["file"]["path"], "/opt/xmrig");
        assert_eq!(json["process"]["pid"], 8);
    }

    #[test]
    fn an_audited_peer_is_told_with_address_and_port() {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[10, 0, 0, 9]);
        let verdict = Verdict { mode: POLICY_AUDIT, family: AF_INET, port: 443, address, ..Verdict::default() };
        let json = translate_verdict(&record(verdict, b""), &mut ProcessIds::new("b")).to_json();
        assert_eq!((json["kind"].as_str(), json["outcome"].as_str()), (Some("policy.audited"), Some("attempted")));
        assert_eq!(json["network"]["remote"]["address"], "10.0.0.9");
        assert_eq!(json["network"]["remote"]["port"], 443);
    }
}
