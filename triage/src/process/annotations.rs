//! What a program or its crash handler left beside a minidump: the command line, annotations in Crashpad's form.
//!
//! A worker of this product leaves annotations of its own there, and each is a line with a name of its own: they say which content did
//! it. Those of other programs may hold anything, and are told as they are.

use std::collections::BTreeMap;

use minidump::{Minidump, MinidumpCrashpadInfo};

use super::Crash;

/// Annotations that a report tells, and the longest of them.
const ANNOTATIONS_MAX: usize = 32;
const ANNOTATION_BYTES_MAX: usize = 256;
/// Stream with the command line that Linux writers leave.
const LINUX_COMMAND_LINE: u32 = 0x4767_0006;
/// The annotation of a process that was dumped because it did not go on, which has no exception.
const STOP: &str = "stop";
pub(super) const HANG: &str = "hang";

/// The annotation that every dump of this product's own has, and no other.
const OWN: &str = "watertight";
/// Names of such a dump's annotations, and of their lines in a report.
const OWN_FACTS: [(&str, &str); 9] = [
    (OWN, "SENSOR_VERSION"),
    ("sensor", "SENSOR_BUILD"),
    ("worker", "WORKER"),
    ("phase", "PHASE"),
    ("content_id", "CONTENT_ID"),
    ("content_name", "CONTENT_NAME"),
    ("content_version", "CONTENT_VERSION"),
    ("rule_id", "RULE_ID"),
    (STOP, "STOP"),
];

/// Tells what is there.
pub(super) fn tell<'d>(dump: &'d Minidump<'d, &'d [u8]>, crash: &mut Crash<'_>) {
    if let Ok(line) = dump.get_raw_stream(LINUX_COMMAND_LINE) {
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let line = words.join(" ");
        if !line.trim().is_empty() {
            crash.fact("COMMAND_LINE", cut(line.trim()));
        }
    }
    let Ok(info) = dump.get_stream::<MinidumpCrashpadInfo>() else { return };
    let of_modules = info.module_list.iter().flat_map(|module| {
        let lists = module.list_annotations.iter().map(|value| (String::new(), value.clone()));
        let simple = module.simple_annotations.iter().map(|(name, value)| (name.clone(), value.clone()));
        lists.chain(simple).collect::<Vec<_>>()
    });
    let simple: &BTreeMap<String, String> = &info.simple_annotations;
    if crash.reason.is_none() && simple.get(STOP).is_some_and(|stop| stop == HANG) {
        crash.reason = Some(HANG.to_owned());
    }
    let is_own = simple.contains_key(OWN);
    let line_of = |name: &str| OWN_FACTS.iter().find(|(own, _)| is_own && *own == name).map(|(_, line)| *line);
    let (named, others): (Vec<_>, Vec<_>) =
        simple.iter().filter(|(_, value)| !value.is_empty()).partition(|(name, _)| line_of(name).is_some());
    for (name, value) in named {
        crash.fact(line_of(name).unwrap_or_default(), cut(value));
    }
    let others = others.into_iter().map(|(name, value)| (name.clone(), value.clone())).chain(of_modules);
    for (name, value) in others.filter(|(_, value)| !value.is_empty()).take(ANNOTATIONS_MAX).collect::<Vec<_>>() {
        let words = if name.is_empty() { value } else { format!("{name} = {value}") };
        crash.fact("ANNOTATION", cut(&words));
    }
}

fn cut(words: &str) -> String {
    words.char_indices().take_while(|(at, _)| *at < ANNOTATION_BYTES_MAX).map(|(_, letter)| letter).collect()
}
