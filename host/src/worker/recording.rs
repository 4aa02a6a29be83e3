//! Events of a recording in place of a machine's, as if they happened now: with the pauses that they had, over and over.
//!
//! The recording is read whole before this worker gives up its privileges. It is the administrator's own file, and still read like any
//! other input: bounded, line by line, refused by its place.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde_json::Value as Json;
use watertight_event::{Class, Event, Kind};

use crate::account::SourceCounts;
use crate::output::boot_ns_now;

/// What a recording holds at most.
const BYTES_MAX: u64 = 64 << 20;
/// A longer pause between two events is as long as this.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// From the last event to the first again.
const PAUSE_AT_END: Duration = Duration::from_secs(1);

/// What is played.
#[derive(Debug)]
pub struct Recording {
    /// At least one.
    events: Vec<Event>,
}

impl Recording {
    /// Reads a file as `watertight run -o json` writes it.
    ///
    /// # Errors
    /// It can't be read, is too large, holds no event of a machine, or a line that is no JSON: the error names the line.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).and_then(|file| Ok((file.metadata()?.is_file(), file)));
        let (is_file, file) = file.with_context(|| path.display().to_string())?;
        ensure!(is_file, "{}: a recording is a regular file", path.display());
        let mut lines = BufReader::new(file.take(BYTES_MAX + 1));
        let (mut events, mut line, mut number, mut bytes) = (Vec::new(), Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).with_context(|| path.display().to_string())?;
            bytes = bytes.saturating_add(read as u64);
            ensure!(bytes <= BYTES_MAX, "{}: longer than {} MiB: cut it", path.display(), BYTES_MAX >> 20);
            if read == 0 {
                break;
            }
            number += 1;
            let event = event_of(&line).with_context(|| format!("{}:{number}", path.display()))?;
            events.extend(event);
        }
        if events.is_empty() {
            bail!("{}: no event of a machine is in it: record some with `watertight run -o json`", path.display());
        }
        Ok(Self { events })
    }

    /// Plays it until standard input ends or has something to say, and writes the account then.
    ///
    /// # Errors
    /// Nobody takes what is written.
    pub fn play(self, out: &mut impl Write) -> Result<()> {
        let mut counts = SourceCounts { source: "recording".into(), ..SourceCounts::default() };
        'played: loop {
            let mut before = None;
            for event in &self.events {
                let pause = before.replace(event.boot_ns).map_or(0, |before| event.boot_ns.saturating_sub(before));
                if !wait(out, Duration::from_nanos(pause).min(PAUSE_MAX))? {
                    break 'played;
                }
                let mut now = event.clone();
                now.boot_ns = boot_ns_now();
                writeln!(out, "{}", now.to_json())?;
                counts.received = counts.received.saturating_add(1);
            }
            if !wait(out, PAUSE_AT_END)? {
                break;
            }
        }
        writeln!(out, "{}", serde_json::json!({ "kind": "source", "counts": counts }))?;
        Ok(out.flush()?)
    }
}

/// The event in a line; none in lines that a run writes beside events, and none that speaks of the sensor that recorded it.
fn event_of(line: &[u8]) -> Result<Option<Event>> {
    let line = std::str::from_utf8(line).context("no text")?;
    if line.trim().is_empty() {
        return Ok(None);
    }
    let Json::Object(object) = serde_json::from_str(line).context("no line of JSON")? else { bail!("no object") };
    let kind = object.get("kind").and_then(Json::as_str).and_then(Kind::from_native);
    if kind.is_none_or(|kind| kind.class() == Class::Sensor) {
        return Ok(None);
    }
    let mut event = Event::from_object(&object).context("no event")?;
    event.sequence = None; // of rings that are not here
    Ok(Some(event))
}

/// Waits that long. Gives false once standard input has ended.
fn wait(out: &mut impl Write, pause: Duration) -> Result<bool> {
    // Shorter than a look at the clock takes, and what was written goes out with what follows.
    if pause < Duration::from_millis(1) {
        return Ok(true);
    }
    out.flush()?;
    let mut left = pause;
    while !left.is_zero() {
        // The supervisor wants a beat every so often.
        let part = left.min(Duration::from_millis(500));
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(part.subsec_nanos()) };
        let stdin = io::stdin();
        if matches!(poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&time)), Ok(1..)) {
            return Ok(false);
        }
        out.flush()?;
        left = left.saturating_sub(part);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<Recording> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("its text");
        Recording::open(file.path())
    }

    #[test]
    fn what_a_run_writes_beside_events_of_the_machine_is_passed_over() {
        let event = r#"{"boot_ns":7,"class":"process","kind":"process.exit","outcome":"done","source":"tp_btf","cpu":1,"sequence":9}"#;
        let gap =
            r#"{"boot_ns":8,"class":"sensor","kind":"sensor.gap","outcome":"done","source":"sensor","of":"detector"}"#;
        let text = format!("{{\"kind\":\"matrix\"}}\n{gap}\n\n{event}\n{{\"kind\":\"summary\"}}\n");
        let recording = opened(&text).expect("a recording");
        let [only] = recording.events.as_slice() else { panic!("{:?}", recording.events) };
        assert_eq!((only.kind, only.sequence), (Kind::ProcessExit, None));
    }

    #[test]
    fn what_is_no_recording_is_refused_by_its_line() {
        for (text, place) in
            [("", "no event of a machine"), ("\n{", ":2"), ("[]", ":1"), ("\n\n{\"kind\":\"process.exec\"}", ":3")]
        {
            let refused = opened(text).expect_err("no recording");
            assert!(format!("{refused:#}").contains(place), "{text:?}: {refused:#}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Recording::open(folder.path()).expect_err("a folder").to_string().contains("regular file"));
    }
}
