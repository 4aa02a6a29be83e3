//! What this sensor's events look like to rules: which log sources, with which fields.

use watertight_content::sigma::verdict::{Supplied, Supply};

/// Fields of the process that acted, part of every event.
const ACTOR: [&str; 5] = ["Image", "User", "ProcessId", "ProcessGuid", "UtcTime"];

/// Fields of each kind of event beside those of the actor.
const KINDS: [(&str, &[&str]); 12] = [
    (
        "process_creation",
        &[
            "CommandLine",
            "CurrentDirectory",
            "LogonId",
            "ParentImage",
            "ParentCommandLine",
            "ParentProcessId",
            "ParentProcessGuid",
            "ParentUser",
        ],
    ),
    ("process_termination", &[]),
    ("process_access", &["SourceImage", "SourceProcessId", "TargetImage", "TargetProcessId"]),
    ("file_event", &["TargetFilename"]),
    ("file_change", &["TargetFilename"]),
    ("file_rename", &["SourceFilename", "TargetFilename"]),
    ("file_delete", &["TargetFilename"]),
    ("network_connection", &["DestinationIp", "DestinationPort", "SourceIp", "SourcePort", "Protocol", "Initiated"]),
    ("pipe_created", &["PipeName"]),
    ("driver_load", &["ImageLoaded"]),
    ("image_load", &["ImageLoaded"]),
    ("create_remote_thread", &["SourceImage", "SourceProcessId", "TargetImage", "TargetProcessId"]),
];

/// The log sources and fields that the sensor supplies.
#[must_use]
pub fn supply() -> Supply {
    let entries = KINDS.iter().map(|(category, fields)| Supplied {
        category: Some((*category).to_owned()),
        product: Some("linux".to_owned()),
        services: Vec::new(),
        fields: ACTOR.iter().chain(*fields).map(|field| (*field).to_owned()).collect(),
    });
    Supply { entries: entries.collect() }
}
