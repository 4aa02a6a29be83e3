//! The OCSF 1.8 view: names come from the table, and what each class demands beyond them is added here. What a class has no
//! place for lies below `unmapped` by its native name, so that nothing of an event is lost.
//!
//! The demands were learnt by validating an event of every kind with every field against the published schema; the tests
//! below hold them.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde_json::{json, Map, Value as Json};

use crate::json::value_to_json;
use crate::table::TRUNCATED;
use crate::view::{ending_signal, is_initiated, is_success, nest, tell_cuts};
use crate::{Class, Event, Field, Kind, Value};

const FILE_ACTIVITY: u32 = 1001;
const EXTENSION_ACTIVITY: u32 = 1002;
const KERNEL_ACTIVITY: u32 = 1003;
const MODULE_ACTIVITY: u32 = 1005;
const PROCESS_ACTIVITY: u32 = 1007;
const NETWORK_ACTIVITY: u32 = 4001;

/// File types: regular.
const REGULAR: u32 = 1;
/// How the place of a user's id ends.
const USER_ID: &str = "user.uid";

static DEVICE: OnceLock<String> = OnceLock::new();

/// Says what this machine is called; the first name stays. A device without any name is no device to OCSF.
pub fn name_device(name: &str) {
    let _ = DEVICE.set(name.to_owned()); // named before: it does not change while a process lives
}

/// The event in OCSF.
pub(crate) fn render(event: &Event) -> Json {
    let (class_uid, activity_id) = (event.kind.ocsf().0, activity(event));
    let hostname = DEVICE.get().map_or("unknown", String::as_str);
    let mut object = Map::new();
    let head = json!({
        "activity_id": activity_id,
        "category_uid": class_uid / 1000,
        "class_uid": class_uid,
        "type_uid": u64::from(class_uid) * 100 + u64::from(activity_id),
        "time": event.unix_ns / 1_000_000,
        "severity_id": 1,
        // 0 unknown, 1 success, 2 failure.
        "status_id": is_success(event).map_or(0, |is| if is { 1 } else { 2 }),
        "message": event.kind.meaning(),
        "metadata": {
            "version": "1.8.0",
            "product": { "name": "Watertight", "vendor_name": "Watertight" },
            "event_code": event.kind.native(),
            "log_provider": event.source.name(),
            "profiles": profiles(event),
        },
        "device": { "type_id": 0, "hostname": hostname, "os": { "name": "Linux", "type_id": 200 } },
        "unmapped": { "outcome": event.outcome.name(), "boot_ns": event.boot_ns },
    });
    if let Json::Object(head) = head {
        object.extend(head);
    }
    if let Some((cpu, number)) = event.sequence {
        nest(&mut object, "unmapped.cpu", cpu.into());
        nest(&mut object, "metadata.sequence", number.into());
    }
    let mut cut = Vec::new();
    for (field, value) in event.fields() {
        let place = place(event, field);
        if value.is_truncated() {
            cut.push(Json::from(place.as_ref()));
        }
        nest(&mut object, &place, if place.ends_with(USER_ID) { id_text(value) } else { value_to_json(value) });
    }
    tell_cuts(&mut object, TRUNCATED.ocsf, cut);
    complete(&mut object, event, class_uid);
    name_files(Json::Object(object))
}

/// The profiles that bring what a class does not have by itself: the machine and who acted, and the container.
fn profiles(event: &Event) -> Vec<&'static str> {
    let container = event.has(Field::ContainerId).then_some("container");
    std::iter::once("host").chain(container).collect()
}

/// The table's activity, but for kinds that stand for several.
fn activity(event: &Event) -> u32 {
    let has = |name: &str| match event.get(Field::Operations) {
        Some(Value::List(names)) => names.iter().any(|operation| *operation.bytes == *name.as_bytes()),
        _ => false,
    };
    match event.kind {
        Kind::Mount if has("umount") => 13,
        Kind::Mount if has("pivot_root") => 99,
        // A thread is no process that was launched.
        Kind::ProcessFork if event.number(Field::ChildTid) != event.number(Field::ChildPid) => 99,
        kind => kind.ocsf().1,
    }
}

/// The dotted name of a field in this event.
fn place(event: &Event, field: Field) -> Cow<'static, str> {
    let is_inbound = is_initiated(event) == Some(false);
    let field_there = match field {
        // The source of a connection is who opened it.
        Field::LocalAddress if is_inbound => Field::RemoteAddress,
        Field::LocalPort if is_inbound => Field::RemotePort,
        Field::RemoteAddress if is_inbound => Field::LocalAddress,
        Field::RemotePort if is_inbound => Field::LocalPort,
        field => field,
    };
    place_of_kind(event, field)
        .map(Cow::from)
        .or_else(|| place_of_class(event, field_there))
        .unwrap_or_else(|| format!("unmapped.{}", field.native()).into())
}

/// Where events of this kind alone have a field.
fn place_of_kind(event: &Event, field: Field) -> Option<&'static str> {
    let is_whole_rename = event.kind == Kind::FileRename && event.has(Field::OldPath);
    Some(match (event.kind, field) {
        (Kind::FileRename, Field::OldPath) => "file.path",
        (Kind::FileRename, Field::Path) if is_whole_rename => "file_result.path",
        (Kind::ProcessFork, Field::ChildPid) | (Kind::ProcessAccess | Kind::ProcessSignal, Field::TargetPid) => {
            "process.pid"
        }
        (Kind::ProcessFork, Field::ChildId) | (Kind::ProcessAccess | Kind::ProcessSignal, Field::TargetId) => {
            "process.uid"
        }
        (Kind::ProcessFork, Field::ChildTid) => "process.tid",
        (Kind::ProcessAccess | Kind::ProcessSignal, Field::TargetExecutable) => "process.file.path",
        (Kind::ProcessCredentials, Field::NewUid) => "process.user.uid",
        _ => return None,
    })
}

/// Whether the process that acted did so to another: that one is then the event's process.
fn is_of_another(kind: Kind) -> bool {
    matches!(kind, Kind::ProcessFork | Kind::ProcessAccess | Kind::ProcessSignal)
}

/// Where a class has a field; `None` where it has no place for it.
fn place_of_class(event: &Event, field: Field) -> Option<Cow<'static, str>> {
    let class_uid = event.kind.ocsf().0;
    let name = field.ocsf();
    let (top, rest) = name.split_once('.').unwrap_or((name, ""));
    let has_endpoints = class_uid == NETWORK_ACTIVITY;
    let place = match top {
        "" => return None,
        // Outside Process Activity the process that acted is the actor's process.
        "process" if class_uid != PROCESS_ACTIVITY || is_of_another(event.kind) => {
            return Some(format!("actor.process.{rest}").into())
        }
        "file" if field == Field::Path => match class_uid {
            FILE_ACTIVITY => name,
            MODULE_ACTIVITY => "module.file.path",
            EXTENSION_ACTIVITY => "driver.file.path",
            // A unix socket has no address: its name stands for the end, as far as it has one.
            NETWORK_ACTIVITY => "dst_endpoint.name",
            _ => return None,
        },
        "file" if class_uid != FILE_ACTIVITY => return None,
        "src_endpoint" | "dst_endpoint" | "connection_info" if !has_endpoints => return None,
        "driver" if class_uid != EXTENSION_ACTIVITY => return None,
        // A process that a signal ended gave no code.
        "exit_code" if class_uid != PROCESS_ACTIVITY || ending_signal(event).is_some() => return None,
        _ => name,
    };
    Some(place.into())
}

/// Ids of users are text to OCSF.
fn id_text(value: &Value) -> Json {
    match value {
        Value::Number(number) => number.to_string().into(),
        other => value_to_json(other),
    }
}

/// What a class demands and no single field gives.
fn complete(object: &mut Map<String, Json>, event: &Event, class_uid: u32) {
    let is_own = event.kind.class() == Class::Sensor;
    if !object.contains_key("actor") {
        nest(object, "actor.app_name", if is_own { "watertight" } else { "unknown" }.into());
    }
    match event.kind {
        Kind::ProcessFork => nest(object, "launch_type_id", 2.into()),
        Kind::ProcessExec => nest(object, "launch_type_id", 3.into()),
        _ => {}
    }
    if let Some(signal) = ending_signal(event) {
        nest(object, "status_detail", format!("signal {signal}").into());
    }
    match class_uid {
        // What the sensor says of itself is told by this process; 0 is nobody.
        PROCESS_ACTIVITY if !object.contains_key("process") => {
            nest(object, "process.pid", if is_own { std::process::id() } else { 0 }.into());
        }
        FILE_ACTIVITY => {
            for file in ["file", "file_result"] {
                if file == "file" || object.contains_key(file) {
                    nest(object, &format!("{file}.type_id"), file_type(event).into());
                }
            }
        }
        NETWORK_ACTIVITY => {
            let direction = is_initiated(event).map_or(0, |is| if is { 2 } else { 1 });
            nest(object, "connection_info.direction_id", direction.into());
            if !object.contains_key("src_endpoint") && !object.contains_key("dst_endpoint") {
                nest(object, "dst_endpoint.name", "unknown".into());
            }
        }
        MODULE_ACTIVITY => {
            // 4: a file is mapped; 0: memory that belongs to none.
            let has_file = event.has(Field::Path);
            nest(object, "module.load_type_id", if has_file { 4 } else { 0 }.into());
        }
        KERNEL_ACTIVITY => {
            // 2: a system call.
            nest(object, "kernel.type_id", 2.into());
            nest(object, "kernel.name", event.kind.native().split('.').next().unwrap_or_default().into());
        }
        EXTENSION_ACTIVITY if event.get(Field::ModuleName).is_none() => {
            nest(object, "driver.file.name", "unknown".into());
        }
        _ => {}
    }
}

/// What the event says of the file; else what the kind is about.
fn file_type(event: &Event) -> u32 {
    match event.text(Field::FileType).as_deref() {
        Some("file") => REGULAR,
        Some("dir") => 2,
        Some("char") => 3,
        Some("block") => 4,
        Some("socket") => 5,
        Some("fifo") => 6,
        Some("symlink") => 7,
        Some(_) => 99,
        None => match event.kind {
            Kind::FileFifo | Kind::FileFifoOpen => 6,
            Kind::UnixBind => 5,
            Kind::FileMkdir | Kind::Mount => 2,
            Kind::FileSymlink => 7,
            _ => REGULAR,
        },
    }
}

/// Every file has a name and a type: where only the path is known, its last part and a regular file.
fn name_files(value: Json) -> Json {
    let Json::Object(object) = value else { return value };
    let named = object.into_iter().map(|(key, inner)| {
        if key == "unmapped" {
            return (key, inner); // in our own form, and `file` there is no file of OCSF's
        }
        let mut inner = name_files(inner);
        if let ("file" | "file_result", Json::Object(file)) = (key.as_str(), &mut inner) {
            let path = file.get("path").and_then(Json::as_str).unwrap_or_default();
            let name = match path.rsplit('/').next() {
                Some("") | None if path.is_empty() => "unknown".to_owned(),
                Some("") | None => "/".to_owned(),
                Some(name) => name.to_owned(),
            };
            file.entry("name").or_insert_with(|| name.into());
            file.entry("type_id").or_insert_with(|| REGULAR.into());
        }
        (key, inner)
    });
    Json::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{every_field_once, pointer, sample};
    use crate::{Outcome, Source};

    /// What the schema demands of each class, and where it allows nothing else.
    const DEMANDS: [(u32, &[&str], &[&str]); 6] = [
        (FILE_ACTIVITY, &["/file/name", "/file/type_id", "/actor/process"], &["/connection_info", "/process"]),
        (EXTENSION_ACTIVITY, &["/driver/file/name", "/driver/file/type_id", "/actor/process"], &["/file", "/process"]),
        (KERNEL_ACTIVITY, &["/kernel/name", "/kernel/type_id"], &["/file", "/process"]),
        (MODULE_ACTIVITY, &["/module/load_type_id", "/actor/process"], &["/file", "/process"]),
        (PROCESS_ACTIVITY, &["/process/pid"], &["/file", "/src_endpoint", "/dst_endpoint", "/connection_info"]),
        (NETWORK_ACTIVITY, &["/connection_info/direction_id"], &["/file", "/process"]),
    ];

    #[test]
    fn every_kind_has_what_its_class_demands_and_nothing_that_it_does_not_know() {
        for kind in Kind::ALL {
            let event = render(&sample(*kind, true));
            assert!(event.get("actor").is_some(), "{} has no actor", kind.native());
            assert_eq!(event["metadata"]["profiles"], json!(["host", "container"]), "{}", kind.native());
            let class = kind.ocsf().0;
            let (_, demanded, unknown) =
                DEMANDS.iter().find(|(uid, _, _)| *uid == class).expect("a class that we know");
            let common = ["/device/hostname", "/device/type_id", "/metadata/version", "/time", "/severity_id"];
            for place in demanded.iter().chain(&common) {
                assert!(event.pointer(place).is_some(), "{} has no {place}: {event}", kind.native());
            }
            for place in *unknown {
                assert!(event.pointer(place).is_none(), "{} may not have {place}: {event}", kind.native());
            }
            assert_eq!(event["type_uid"], u64::from(class) * 100 + event["activity_id"].as_u64().expect("a number"));
            if class == NETWORK_ACTIVITY {
                let has_end = event.get("src_endpoint").or(event.get("dst_endpoint")).is_some();
                assert!(has_end, "{} has neither end", kind.native());
            }
            let user = event.pointer("/actor/user/uid").expect("who it was");
            assert!(user.is_string(), "an id of a user is text: {user}");
        }
    }

    #[test]
    fn every_file_has_name_and_type() {
        let event = render(&sample(Kind::FileCreate, true));
        for place in ["/file", "/actor/process/file", "/actor/process/parent_process/file"] {
            let file = event.pointer(place).expect("it was given");
            let path = file["path"].as_str().expect("it was given");
            assert_eq!(file["name"], path["/some/".len()..], "{place}");
            assert!(file["type_id"].is_u64(), "{place}");
        }
    }

    #[test]
    fn an_unmount_is_no_mount() {
        let of = |name: &str| {
            let mount = Event::new(Kind::Mount, Outcome::Attempted, Source::BpfLsm, 1);
            render(&mount.with(Field::Operations, Value::List(vec![name.into()])))["type_uid"].as_u64()
        };
        assert_eq!((of("mount"), of("umount"), of("pivot_root")), (Some(100_112), Some(100_113), Some(100_199)));
    }

    #[test]
    fn an_event_without_fields_still_has_an_actor_and_what_it_is_about() {
        for kind in Kind::ALL {
            let event = render(&sample(*kind, false));
            let about = match kind.ocsf().0 {
                FILE_ACTIVITY => "/file/name",
                EXTENSION_ACTIVITY => "/driver/file/name",
                KERNEL_ACTIVITY => "/kernel/name",
                MODULE_ACTIVITY => "/module/load_type_id",
                PROCESS_ACTIVITY => "/process/pid",
                _ => "/connection_info/direction_id",
            };
            assert!(event.pointer(about).is_some(), "{} has no {about}: {event}", kind.native());
            assert!(event.pointer("/actor/app_name").is_some(), "{} has no actor", kind.native());
        }
    }

    #[test]
    fn every_field_of_every_kind_is_found_again_by_its_value() {
        for event in every_field_once() {
            let line = render(&event);
            let mut places = Vec::new();
            for (field, value) in event.fields() {
                let place = place(&event, field);
                let expected = if place.ends_with(USER_ID) { id_text(value) } else { value_to_json(value) };
                let found = line.pointer(&pointer(&place));
                assert_eq!(found, Some(&expected), "{} {} at {place}", event.kind.native(), field.native());
                places.push(place);
            }
            places.sort();
            assert!(places.is_sorted_by(|left, right| left < right), "{}: a place twice", event.kind.native());
        }
    }

    fn event(kind: Kind) -> Event {
        Event::new(kind, Outcome::Done, Source::TpBtf, 1)
    }

    #[test]
    fn the_process_that_is_traced_or_made_is_the_events_and_who_acted_is_the_actors() {
        let traced = render(
            &event(Kind::ProcessAccess)
                .with(Field::Pid, 7_u64)
                .with(Field::Executable, "/usr/bin/gdb")
                .with(Field::TargetPid, 8_u64)
                .with(Field::TargetExecutable, "/usr/sbin/sshd"),
        );
        assert_eq!((&traced["actor"]["process"]["pid"], &traced["process"]["pid"]), (&json!(7), &json!(8)));
        assert_eq!(traced["process"]["file"]["path"], "/usr/sbin/sshd");
        let forked = |tid: u64| {
            let fork = event(Kind::ProcessFork).with(Field::Pid, 7_u64).with(Field::ChildPid, 8_u64);
            render(&fork.with(Field::ChildTid, tid))
        };
        let (process, thread) = (forked(8), forked(9));
        assert_eq!((&process["actor"]["process"]["pid"], &process["process"]["pid"]), (&json!(7), &json!(8)));
        assert_eq!((&process["type_uid"], &process["launch_type_id"]), (&json!(100_701), &json!(2)));
        assert_eq!(thread["type_uid"], 100_799);
    }

    #[test]
    fn a_rename_names_both_files_and_half_of_one_the_one_that_is_known() {
        let half = event(Kind::FileRename).with(Field::Path, "/etc/cron.d/x");
        let whole = render(&half.clone().with(Field::OldPath, "/tmp/a"));
        assert_eq!((&whole["file"]["path"], &whole["file"]["name"]), (&json!("/tmp/a"), &json!("a")));
        assert_eq!(whole["file_result"], json!({ "path": "/etc/cron.d/x", "name": "x", "type_id": 1 }));
        let half = render(&half);
        assert_eq!((&half["file"]["path"], half.get("file_result")), (&json!("/etc/cron.d/x"), None));
    }

    #[test]
    fn a_refused_connection_is_a_failure_outwards_and_a_killed_process_one_by_its_signal() {
        let refused = render(&event(Kind::NetworkFailed).with(Field::IsInitiated, true));
        assert_eq!((&refused["type_uid"], &refused["status_id"]), (&json!(400_104), &json!(2)));
        assert_eq!(refused["connection_info"]["direction_id"], 2);
        let exit = |signal: u64| {
            let exit = event(Kind::ProcessExit).with(Field::Pid, 7_u64).with(Field::ExitCode, 0_u64);
            render(&exit.with(Field::ExitSignal, signal))
        };
        let (killed, well) = (exit(9), exit(0));
        assert_eq!((&killed["status_id"], &killed["status_detail"]), (&json!(2), &json!("signal 9")));
        assert_eq!((killed.get("exit_code"), &killed["unmapped"]["exit"]["signal"]), (None, &json!(9)));
        assert_eq!((&well["status_id"], &well["exit_code"]), (&json!(1), &json!(0)));
    }
}
