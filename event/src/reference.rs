//! The reference page of the documentation, made from the table so that it can't tell of another model than the code's.

use std::fmt::Write as _;

use crate::table::TRUNCATED;
use crate::{Field, Kind};

/// The reference page in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from("# Events and fields\n\nMade from `event/src/table.rs`; `cargo test -p watertight-event` checks that it is current.\n\n## Events\n\n| kind | class | what happened | own fields | Sigma category | ECS category, type | OCSF class, activity |\n|---|---|---|---|---|---|---|\n");
    for kind in Kind::ALL {
        let fields: Vec<String> = kind.fields().iter().map(|field| format!("`{}`", field.native())).collect();
        let (category, ecs_type) = kind.ecs();
        let (class, activity) = kind.ocsf();
        let sigma = kind.sigma_logsource().map_or("-", |logsource| logsource.category);
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {sigma} | {category}, {ecs_type} | {class}, {activity} |",
            kind.native(),
            kind.class().name(),
            kind.meaning(),
            fields.join(" ")
        );
    }
    let _ = write!(
        page,
        "\n## Cuts\n\nWhat was too long for the sensor is cut and named: each view lists the fields whose values are not whole, by \
         its own names for them. `process.argv_bytes` tells how long all arguments were.\n\n| native | Sigma, beside `event` | ECS | OCSF |\n|---|---|---|---|\n| `{}` | {} | {} | {} |\n",
        TRUNCATED.native, TRUNCATED.sigma, TRUNCATED.ecs, TRUNCATED.ocsf
    );
    page.push_str("\n## Fields\n\nEvents of a process's own context carry the `process.` fields that their hook can give. A field \
         without a name in ECS lies below `watertight` there, in OCSF below `unmapped`, by its name here; so does one that the OCSF \
         class has no place for. Rules of Sigma can't ask for a field without a name.\n\nSome events say it otherwise:\n\n\
         - An accepted connection's source is the peer, in ECS and OCSF.\n\
         - A process that a signal ended has no exit code in ECS and OCSF: both are told as they are natively, and the outcome is a \
         failure.\n\
         - In OCSF the process of `process.fork`, `process.access` and `process.signal` is the one that is made or acted on, and \
         the actor's process is who did it. `process.credentials` has the new user as the process's, the old one as the actor's.\n\
         - In OCSF a rename has the old path as `file`, the new one as `file_result`.\n\nAn alert beside ECS events is an ECS \
         document with `event.kind` alert, the rule and the event's fields; beside OCSF events it is a Detection Finding (2004) with \
         the event as evidence; natively, and beside Sigma's form, a line of kind `alert` that holds the event.\n\n| field | type | meaning | Sigma | ECS | OCSF |\n|---|---|---|---|---|---|\n");
    for field in Field::ALL {
        let or_dash = |name: &'static str| if name.is_empty() { "-" } else { name };
        let _ = writeln!(
            page,
            "| `{}` | {:?} | {} | {} | {} | {} |",
            field.native(),
            field.value_type(),
            field.meaning(),
            or_dash(field.sigma()),
            or_dash(field.ecs()),
            or_dash(field.ocsf())
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/events.md");
        if std::env::var_os("WATERTIGHT_BLESS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference")).expect("a folder");
            std::fs::write(path, reference_page()).expect("the page");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference_page(),
            "docs/reference/events.md is old: run WATERTIGHT_BLESS=1 cargo test -p watertight-event"
        );
    }
}
