//! What the kernel of an earlier boot saved while it died (pstore: memory that survives a reset, or the firmware's variables): picked
//! up when a run starts, kept, told as events, and only then removed, so that there is room for the next crash.
//!
//! The text is the kernel's, and what is in it anybody's. So it is not read here: a process of its own, `watertight triage`, does, and
//! the supervisor takes two short strings from its answer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use watertight_event::{Event, Field, Kind};

use crate::output::sensor_event;
use crate::printable::printable;
use crate::triaged::Seen;

/// Where the kernel shows its records.
pub const FOLDER: &str = "/sys/fs/pstore";
/// Name of the folder in which crashes are kept, beside the content slots: it outlives a reboot.
pub const KEPT: &str = "crashes";
/// How long triage may take. A run waits for it, but only after a crash.
pub const TRIAGE_MAX: Duration = Duration::from_secs(20);
/// Records that are looked at. A backend has room for some dozens.
const RECORDS_MAX: usize = 256;
/// Longest record; pstore's own are at most some hundred KiB.
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// Crashes that are kept; the oldest go first.
const KEPT_MAX: usize = 32;
/// All records of one crash.
const CRASH_BYTES_MAX: usize = 4 << 20;

/// A record: a part of what one kernel said at one time.
struct Record {
    file: PathBuf,
    part: u32,
    text: Vec<u8>,
    seconds: u64,
}

/// Picks up what is there. Each crash is an event; one that could not be kept stays where it is, and that is told.
pub fn pick_up(pstore: &Path, folder: &Path, triage: &dyn Fn(&Path) -> Result<Seen>) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, records) in crashes(pstore) {
        match keep(folder, &name, &records) {
            Ok(Some(kept)) => events.push(told(&name, &kept, triage(&kept))),
            Ok(None) => {} // told by an earlier run, which could not remove it
            Err(error) => {
                let message = format!("a crash of an earlier boot can't be kept and stays in pstore: {error:#}");
                crate::say!("watertight: {}", printable(&message));
                events.push(sensor_event(Kind::HostCrash, &name, &message));
                continue;
            }
        }
        for record in &records {
            if let Err(error) = fs::remove_file(&record.file) {
                crate::say!("watertight: {} can't be removed: {error}", printable(&record.file.to_string_lossy()));
            }
        }
    }
    events
}

fn told(name: &str, kept: &Path, seen: Result<Seen>) -> Event {
    let place = kept.display();
    let (title, bucket, message) = match seen {
        Ok(Seen { title: Some(title), bucket }) => {
            let message = format!("the kernel of an earlier boot crashed: {title}; kept in {place}");
            (Some(title), bucket, message)
        }
        Ok(_) => (
            None,
            None,
            format!("the kernel of an earlier boot left a record without a crash that is known; kept in {place}"),
        ),
        Err(error) => (
            None,
            None,
            format!("the kernel of an earlier boot left a record that can't be read ({error:#}); kept in {place}"),
        ),
    };
    crate::say!("watertight: {}", printable(&message));
    let mut event = sensor_event(Kind::HostCrash, name, &message);
    for (field, value) in [(Field::CrashTitle, title), (Field::CrashBucket, bucket)] {
        if let Some(value) = value {
            event.set(field, value.as_str());
        }
    }
    event
}

/// The crashes in pstore, by backend, reason and number, the parts of each in the order in which they were said.
fn crashes(pstore: &Path) -> BTreeMap<String, Vec<Record>> {
    let mut found: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    let entries = fs::read_dir(pstore).into_iter().flatten().filter_map(io::Result::ok).take(RECORDS_MAX);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(backend) = name.strip_prefix("dmesg-") else { continue };
        let Some((text, seconds)) = read(&entry.path()) else { continue };
        let head = String::from_utf8_lossy(text.get(..64.min(text.len())).unwrap_or_default()).into_owned();
        let (crash, part) = match said(&head) {
            Some((reason, part)) => (format!("{}-{reason}", backend.split('-').next().unwrap_or_default()), part),
            // Packed by a kernel that knew another way, or no kernel's at all: kept as it is.
            None => (backend.to_owned(), 0),
        };
        found.entry(crash).or_default().push(Record { file: entry.path(), part, text, seconds });
    }
    for records in found.values_mut() {
        // The first part is what was said last.
        records.sort_by_key(|record| std::cmp::Reverse(record.part));
    }
    found
}

/// A record's bytes and when it was written.
fn read(file: &Path) -> Option<(Vec<u8>, u64)> {
    let opened = File::open(file).ok()?;
    let seconds = opened.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut text = Vec::new();
    opened.take(RECORD_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some((text, seconds))
}

/// Reason and number, and which part it is, by the first line of a record: `Panic#2 Part1`.
#[must_use]
pub fn said(text: &str) -> Option<(String, u32)> {
    let (reason, rest) = text.lines().next()?.split_once(" Part")?;
    let (word, number) = reason.split_once('#')?;
    let is_plain = !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_alphabetic());
    let is_number = (1..=10).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
    (is_plain && is_number).then_some(())?;
    Some((reason.to_owned(), rest.trim().parse().ok()?))
}

/// Keeps a crash; `None` if it is kept already. When this returns it outlives a power cut.
fn keep(folder: &Path, name: &str, records: &[Record]) -> Result<Option<PathBuf>> {
    let mut text = Vec::new();
    for record in records {
        let head = said(&String::from_utf8_lossy(record.text.get(..64.min(record.text.len())).unwrap_or_default()));
        let from = if head.is_some() { record.text.iter().position(|byte| *byte == b'\n').unwrap_or(0) } else { 0 };
        let room = CRASH_BYTES_MAX.saturating_sub(text.len());
        text.extend(record.text.get(from..).unwrap_or_default().iter().take(room));
    }
    let seconds = records.iter().map(|record| record.seconds).max().unwrap_or_default();
    let safe: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
        .take(80)
        .collect();
    let kept = folder.join(format!("{seconds:012}-{safe}.txt"));
    if fs::read(&kept).is_ok_and(|old| old == text) {
        return Ok(None);
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    make_room(folder)?;
    let partial = folder.join(".partial");
    let mut file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    file.write_all(&text).and_then(|()| file.sync_all()).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, &kept).with_context(|| format!("naming {}", kept.display()))?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("writing {}", folder.display()))?;
    Ok(Some(kept))
}

/// Removes the oldest crashes until there is room for one more. Their names begin with when they were.
fn make_room(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut kept: Vec<PathBuf> = entries.filter_map(io::Result::ok).map(|entry| entry.path()).collect();
    kept.sort();
    for old in kept.iter().take((kept.len() + 1).saturating_sub(KEPT_MAX)) {
        fs::remove_file(old).with_context(|| format!("removing {}", old.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triaged::fatal;
    use anyhow::bail;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a folder"));
            fs::create_dir(place.pstore()).expect("a folder");
            place
        }

        fn pstore(&self) -> PathBuf {
            self.0.path().join("pstore")
        }

        fn record(&self, name: &str, text: &str) {
            fs::write(self.pstore().join(name), text).expect("written");
        }

        fn left(&self) -> usize {
            fs::read_dir(self.pstore()).expect("a folder").count()
        }

        fn pick_up(&self) -> Vec<Event> {
            let first_line = |file: &Path| {
                let text = fs::read_to_string(file)?;
                Ok(Seen {
                    title: text.lines().find(|line| !line.is_empty()).map(str::to_owned),
                    bucket: Some("b".to_owned()),
                })
            };
            pick_up(&self.pstore(), &self.0.path().join(KEPT), &first_line)
        }
    }

    fn title(event: &Event) -> Option<String> {
        event.text(Field::CrashTitle).map(|text| text.into_owned())
    }

    #[test]
    fn the_parts_of_a_crash_are_put_together_in_the_order_in_which_they_were_said() {
        let place = Place::new();
        place.record("dmesg-ramoops-0", "Panic#1 Part1\nsaid last\n");
        place.record("dmesg-ramoops-1", "Panic#1 Part3\nsaid first\n");
        place.record("dmesg-ramoops-2", "Panic#1 Part2\nsaid then\n");
        place.record("dmesg-ramoops-3", "Oops#2 Part1\nanother\n");
        place.record("console-ramoops-0", "not of a crash\n");
        let events = place.pick_up();
        let titles: Vec<_> = events.iter().map(title).collect();
        assert_eq!(titles, [Some("another".to_owned()), Some("said first".to_owned())]);
        assert_eq!(events[1].text(Field::CrashBucket).as_deref(), Some("b"));
        assert_eq!(events[1].text(Field::Of).as_deref(), Some("ramoops-Panic#1"));
        let kept = fs::read_dir(place.0.path().join(KEPT)).expect("kept").map(|entry| entry.expect("an entry").path());
        let texts: Vec<String> = kept.map(|file| fs::read_to_string(file).expect("text")).collect();
        assert!(texts.contains(&"\nsaid first\n\nsaid then\n\nsaid last\n".to_owned()), "{texts:?}");
        assert_eq!(place.left(), 1, "what is of no crash stays");
        assert!(place.pick_up().is_empty(), "told once");
    }

    #[test]
    fn a_record_that_can_not_be_kept_is_not_removed() {
        let place = Place::new();
        place.record("dmesg-efi-1", "Panic#1 Part1\nx\n");
        fs::write(place.0.path().join(KEPT), "a file where the folder would be").expect("written");
        let events = place.pick_up();
        assert_eq!((events.len(), place.left()), (1, 1));
        assert!(events[0].text(Field::Message).is_some_and(|text| text.contains("stays in pstore")));
    }

    #[test]
    fn the_oldest_crashes_go_when_there_are_too_many() {
        let place = Place::new();
        for number in 0..KEPT_MAX + 5 {
            place.record("dmesg-ramoops-0", &format!("Panic#{} Part1\nx {number}\n", number + 1));
            assert_eq!(place.pick_up().len(), 1);
        }
        assert_eq!(fs::read_dir(place.0.path().join(KEPT)).expect("kept").count(), KEPT_MAX);
    }

    #[test]
    fn a_record_that_triage_fails_on_is_kept_and_told() {
        let place = Place::new();
        place.record("dmesg-efi-17.enc.z", "\u{1}\u{2}");
        let events = pick_up(&place.pstore(), &place.0.path().join(KEPT), &|_| bail!("it was killed"));
        assert!(events[0].text(Field::Message).is_some_and(|text| text.contains("it was killed")));
        assert_eq!((title(&events[0]), place.left()), (None, 0));
    }

    #[test]
    fn of_several_reports_it_is_the_one_that_the_machine_died_of() {
        let line = |title: &str, id: &str| format!("{{\"title\":\"{title}\",\"bucket\":{{\"id\":\"{id}\"}}}}\n");
        let all =
            [line("WARNING in a", "1"), line("BUG: x in b", "2"), line("kernel panic: Fatal exception", "3")].concat();
        assert_eq!(fatal(&all), Seen { title: Some("BUG: x in b".to_owned()), bucket: Some("2".to_owned()) });
        assert_eq!(fatal(&line("kernel panic: Fatal exception", "3")).bucket.as_deref(), Some("3"));
        assert_eq!(fatal("nonsense\n{\"kind\":\"none\"}\n"), Seen::default());
    }
}
