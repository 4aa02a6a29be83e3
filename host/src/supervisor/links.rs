//! Looks now and then whether the programs are still attached. A link ends with its pin, and whoever is root may remove that: then
//! nothing is counted and nothing is lost, and without a word of it the run would look as whole as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watertight_event::{Event, Kind};

use crate::loader::Report;
use crate::output::sensor_event;
use crate::printable::printable;

/// How long a removal may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Programs that a message names.
const NAMED_MAX: usize = 5;

/// The pinned links of a run.
pub struct Links {
    folder: PathBuf,
    /// Those that were there.
    there: BTreeSet<String>,
    looked: Instant,
    is_whole: bool,
}

impl Links {
    /// What is pinned now; nothing where nothing is loaded.
    pub fn of(report: Option<&Report>) -> Self {
        let folder = report.map(|report| report.directory.join("links")).unwrap_or_default();
        Self { there: names(&folder), folder, looked: Instant::now(), is_whole: true }
    }

    /// The event that tells what is gone since the last look, if something is.
    pub fn look(&mut self) -> Option<Event> {
        if self.there.is_empty() || self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let now = names(&self.folder);
        let gone: Vec<String> = self.there.difference(&now).cloned().collect();
        self.there.retain(|name| now.contains(name));
        if gone.is_empty() {
            return None;
        }
        self.is_whole = false;
        let named = gone.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = match gone.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "somebody removed the pins of {named}{more} from {}: these programs see nothing any more; start the run again",
            self.folder.display()
        );
        crate::say!("watertight: {}", printable(&message));
        Some(sensor_event(Kind::SensorGap, "kernel programs", &message))
    }

    /// Whether all that was there still is.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use watertight_event::{Field, Value};

    use super::*;

    #[test]
    fn a_pin_that_somebody_removes_is_told_once() {
        let directory = std::env::temp_dir().join(format!("watertight-links-{}", std::process::id()));
        fs::create_dir_all(directory.join("links")).expect("a folder");
        for name in ["task_exec", "task_fork"] {
            fs::write(directory.join("links").join(name), "").expect("a file");
        }
        let report = Report { directory: directory.clone(), ..Report::default() };
        let mut links = Links::of(Some(&report));
        let mut look = || {
            links.looked = Instant::now().checked_sub(LOOK_EVERY).expect("later than that");
            (links.look(), links.is_whole())
        };
        assert!(matches!(look(), (None, true)));
        fs::remove_file(directory.join("links/task_exec")).expect("our own file");
        let (Some(told), false) = look() else { panic!("not told") };
        let Some(Value::Text(message)) = told.get(Field::Message) else { panic!("no message") };
        let message = String::from_utf8_lossy(&message.bytes);
        assert!(message.contains("task_exec") && !message.contains("task_fork"), "{message}");
        assert!(matches!(look(), (None, false)));
        fs::remove_dir_all(&directory).expect("our own folder");
    }
}
