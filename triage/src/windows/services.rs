//! How the system starts the driver that is blamed, and those that came with it: its service, from the SYSTEM hive beside the dump.

use super::hive::{Hive, Key, Value};
use super::modules::folder;
use crate::machine::modules::Loaded;
use crate::report::Fact;

/// Services that are told.
const TOLD_MAX: usize = 16;

/// What a driver's service may be (`Type`).
const TYPES: [(u32, &str); 4] =
    [(1, "kernel driver"), (2, "file system driver"), (0x10, "process of its own"), (0x20, "shares a process")];
/// When it is started (`Start`).
const STARTS: [&str; 5] = ["boot", "system", "automatic", "on demand", "disabled"];

/// The services of the driver and of those whose files lie in the same folder.
pub(super) fn facts(hive: &Hive<'_>, driver: &Loaded) -> Vec<Fact> {
    let current = hive.key(&["Select"]).and_then(|key| hive.value(&key, "Current"));
    let Some(Value::Number(number)) = current else { return Vec::new() };
    let set = format!("ControlSet{number:03}");
    let Some(services) = hive.key(&[set.as_str(), "Services"]) else { return Vec::new() };
    let own = folder(&driver.path);
    let is_near = |key: &Key| match hive.value(key, "ImagePath") {
        _ if key.name().eq_ignore_ascii_case(driver.name()) => true,
        Some(Value::Text(path)) => own.is_some() && folder(&path) == own,
        _ => false,
    };
    let told = hive.below(&services).filter(is_near).take(TOLD_MAX);
    told.map(|key| Fact { name: "SERVICE".to_owned(), value: words(hive, &key) }).collect()
}

fn words(hive: &Hive<'_>, key: &Key) -> String {
    let mut words = Vec::new();
    for name in ["Type", "Start", "ErrorControl", "Group", "DependOnService", "ImagePath", "SupportedFeatures"] {
        let meaning = |number: u32| match name {
            "Type" => TYPES.iter().find(|(known, _)| *known == number).map(|(_, meaning)| *meaning),
            "Start" => usize::try_from(number).ok().and_then(|number| STARTS.get(number)).copied(),
            _ => None,
        };
        match hive.value(key, name) {
            Some(Value::Number(number)) => {
                let meaning = meaning(number).map(|meaning| format!(" ({meaning})")).unwrap_or_default();
                words.push(format!("{name} {number:x}{meaning}"));
            }
            Some(Value::Text(text)) => words.push(format!("{name} \"{text}\"")),
            None => {}
        }
    }
    format!("{}: {}", key.name(), words.join(", "))
}
