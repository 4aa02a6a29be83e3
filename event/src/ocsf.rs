//! The OCSF 1.8 view: names come from the table, and what each class demands beyond them is added here.
//!
//! The demands were learnt by validating an event of every kind with every field against the published schema; the tests
//! below hold them.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde_json::{json, Map, Value as Json};

use crate::json::value_to_json;
use crate::table::TRUNCATED;
use crate::view::{nest, tell_cuts};
use crate::{Class, Event, Field, Kind, Outcome, Value};

const FILE_ACTIVITY: u32 = 1001;
const EXTENSION_ACTIVITY: u32 = 1002;
const KERNEL_ACTIVITY: u32 = 1003;
const MODULE_ACTIVITY: u32 = 1005;
const PROCESS_ACTIVITY: u32 = 1007;
const NETWORK_ACTIVITY: u32 = 4001;

/// File types: regular.
const REGULAR: u32 = 1;

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
        "status_id": match event.outcome { Outcome::Done => 1, Outcome::Denied => 2, _ => 0 },
        "message": event.kind.meaning(),
        "metadata": { "version": "1.8.0", "product": { "name": "Watertight", "vendor_name": "Watertight" } },
        "device": { "type_id": 0, "hostname": hostname, "os": { "name": "Linux", "type_id": 200 } },
    });
    if let Json::Object(head) = head {
        object.extend(head);
    }
    let mut cut = Vec::new();
    for (field, value) in event.fields() {
        let Some(place) = place(class_uid, field) else { continue };
        if value.is_truncated() {
            cut.push(Json::from(place.as_ref()));
        }
        nest(&mut object, &place, if field == Field::Uid { id_text(value) } else { value_to_json(value) });
    }
    tell_cuts(&mut object, TRUNCATED.ocsf, cut);
    complete(&mut object, event, class_uid);
    name_files(Json::Object(object))
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
        kind => kind.ocsf().1,
    }
}

/// Where a class has a field; `None` where it has no place for it.
fn place(class_uid: u32, field: Field) -> Option<Cow<'static, str>> {
    let name = field.ocsf();
    let (top, rest) = name.split_once('.').unwrap_or((name, ""));
    let has_endpoints = class_uid == NETWORK_ACTIVITY;
    let place = match top {
        "" => return None,
        // Outside Process Activity the process that acted is the actor's process.
        "process" if class_uid != PROCESS_ACTIVITY => return Some(format!("actor.process.{rest}").into()),
        "file" if field == Field::Path => match class_uid {
            FILE_ACTIVITY => name,
            MODULE_ACTIVITY => "module.file.path",
            EXTENSION_ACTIVITY => "driver.file.path",
            // A unix socket has no address: its name stands for the end, as far as it has one.
            NETWORK_ACTIVITY => "dst_endpoint.name",
            _ => return None,
        },
        "file" if class_uid != FILE_ACTIVITY || name == "file.type" => return None,
        "src_endpoint" | "dst_endpoint" | "connection_info" if !has_endpoints => return None,
        "driver" if class_uid != EXTENSION_ACTIVITY => return None,
        "exit_code" if class_uid != PROCESS_ACTIVITY => return None,
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
    match class_uid {
        // What the sensor says of itself is told by this process; 0 is nobody.
        PROCESS_ACTIVITY if !object.contains_key("process") => {
            nest(object, "process.pid", if is_own { std::process::id() } else { 0 }.into());
        }
        FILE_ACTIVITY => nest(object, "file.type_id", file_type(event.kind).into()),
        NETWORK_ACTIVITY => {
            let direction = match event.get(Field::IsInitiated) {
                Some(Value::Bool(true)) => 2,
                Some(Value::Bool(false)) => 1,
                _ => 0,
            };
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

fn file_type(kind: Kind) -> u32 {
    match kind {
        Kind::FileFifo | Kind::FileFifoOpen => 6,
        Kind::UnixBind => 5,
        Kind::FileMkdir | Kind::Mount => 2,
        Kind::FileSymlink => 7,
        _ => REGULAR,
    }
}

/// Every file has a name and a type: where only the path is known, its last part and a regular file.
fn name_files(value: Json) -> Json {
    let Json::Object(object) = value else { return value };
    let named = object.into_iter().map(|(key, inner)| {
        let mut inner = name_files(inner);
        if let (true, Json::Object(file)) = (key == "file", &mut inner) {
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
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::{Source, Text, Type};

    /// An event with every field that its kind can carry, or with none.
    fn sample(kind: Kind, is_full: bool) -> Event {
        let mut event = Event::new(kind, Outcome::Done, Source::BpfLsm, 1);
        let of_process = Field::ALL.iter().filter(|field| field.is_of_process());
        for field in of_process.chain(kind.fields()).filter(|_| is_full) {
            let value = match field.value_type() {
                Type::Bool => Value::Bool(true),
                Type::Number => Value::Number(7),
                Type::Signed => Value::Signed(-7),
                Type::Text => Value::Text(Text::from("/some/text")),
                Type::List => Value::List(vec![Text::from("first")]),
                Type::Address => Value::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            };
            event.set(*field, value);
        }
        event
    }

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
            assert_eq!((&file["name"], &file["type_id"]), (&json!("text"), &json!(1)), "{place}");
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
}
