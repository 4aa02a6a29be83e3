//! Records until the server has them on its disk. A folder for each stream, a file for each batch, whole or not there at all; a file is
//! taken away when its batch is acknowledged. What there is no room for is counted, and the next batch says how many.
//!
//! A stream may be written by several processes, one after the other for the moment of a write; who reads waits for none of them.

use prost::Message as _;
use serde::{Deserialize, Serialize};
use watertight_fleet_wire::limits::BATCH_RECORDS_MAX;
use watertight_fleet_wire::records::{Batch, Body, Record, Stream};

use crate::folder::{Folder, FolderError};

const COUNTS: &str = "counts.json";
const SUFFIX: &str = ".batch";
/// What a batch holds, unpacked: far below what the server reads of one, also if it does not compress.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// What a stream may take on disk: alerts of weeks, or of one bad hour.
pub const STREAM_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A stream's folder.
#[must_use]
pub fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Health => "health",
        Stream::Crash => "crash",
        Stream::Alert => "alert",
        Stream::Unset => "unset",
    }
}

/// Numbers of a boot, durable before a record has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    boot: String,
    /// The last number that was given.
    sequence: u64,
    /// Of these, records that there was no room for.
    dropped: u64,
}

/// Writes a stream.
#[derive(Debug)]
pub struct Writer {
    folder: Folder,
    stream: Stream,
    boot: String,
    bytes_max: u64,
    open: Vec<Record>,
    open_bytes: usize,
    /// Not yet in the counts on disk.
    dropped: u64,
}

impl Writer {
    /// The stream's folder is made, if it is not there.
    ///
    /// # Errors
    /// It can't be made, or its counts are damaged: without them numbers would be given out twice.
    pub fn new(spool: &Folder, stream: Stream, boot: &str, bytes_max: u64) -> Result<Self, FolderError> {
        let folder = spool.folder(name(stream))?;
        let boot = boot.to_owned();
        let writer = Self { folder, stream, boot, bytes_max, open: Vec::new(), open_bytes: 0, dropped: 0 };
        writer.counts().map(|_| writer)
    }

    /// Adds a record. It is on disk after `flush`, which happens by itself when a batch is full.
    pub fn add(&mut self, at_ms: u64, body: Body) {
        let record = Record { sequence: 0, at_ms, body: Some(body) };
        let bytes = record.encoded_len();
        if self.open.len() >= BATCH_RECORDS_MAX || self.open_bytes.saturating_add(bytes) > BATCH_BYTES_MAX {
            self.flush();
        }
        self.open_bytes = self.open_bytes.saturating_add(bytes);
        self.open.push(record);
    }

    /// Puts what was added on disk; what there is no room for is dropped and counted.
    pub fn flush(&mut self) {
        let records = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        if !records.is_empty() {
            let count = records.len() as u64;
            if !self.put(records).unwrap_or(false) {
                self.dropped = self.dropped.saturating_add(count);
                // Else a restart forgets them; a disk that refused the batch may refuse this, too.
                let _ = self.keep_dropped();
            }
        }
    }

    /// Records of this boot that there was no room for, as far as this writer knows.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts().map_or(0, |counts| counts.dropped).saturating_add(self.dropped)
    }

    /// Whether there was room. Numbers are durable before a record has one.
    fn put(&mut self, mut records: Vec<Record>) -> Result<bool, FolderError> {
        let _alone = self.folder.lock()?;
        let mut counts = self.counts()?;
        let first = counts.sequence.saturating_add(1);
        for record in &mut records {
            counts.sequence = counts.sequence.saturating_add(1);
            record.sequence = counts.sequence;
        }
        counts.dropped = counts.dropped.saturating_add(self.dropped);
        let batch = Batch { boot: self.boot.clone(), stream: self.stream as i32, records, dropped: counts.dropped };
        let bytes = batch.encode_to_vec();
        let used: u64 = self.folder.list()?.iter().map(|(_, size_bytes)| size_bytes).sum();
        if used.saturating_add(bytes.len() as u64) > self.bytes_max {
            return Ok(false);
        }
        self.folder.write_json(COUNTS, &counts)?;
        self.dropped = 0;
        self.folder.write(&format!("{first:020}-{}{SUFFIX}", self.boot), &bytes)?;
        Ok(true)
    }

    /// What is dropped has numbers too: whoever reads them sees the gap.
    fn keep_dropped(&mut self) -> Result<(), FolderError> {
        let _alone = self.folder.lock()?;
        let mut counts = self.counts()?;
        counts.sequence = counts.sequence.saturating_add(self.dropped);
        counts.dropped = counts.dropped.saturating_add(self.dropped);
        self.folder.write_json(COUNTS, &counts)?;
        self.dropped = 0;
        Ok(())
    }

    /// Another boot's are done with.
    fn counts(&self) -> Result<Counts, FolderError> {
        let counts = self.folder.read_json::<Counts>(COUNTS)?.filter(|counts| counts.boot == self.boot);
        Ok(counts.unwrap_or_else(|| Counts { boot: self.boot.clone(), ..Counts::default() }))
    }
}

/// The oldest batch of a stream, with the name by which it is taken away; batches of other boots come first, because nothing is added
/// to them. One that is damaged is taken away: it was not acknowledged, and nobody can read it.
///
/// # Errors
/// The folder can't be read.
pub fn oldest(spool: &Folder, stream: Stream, boot: &str) -> Result<Option<(String, Batch)>, FolderError> {
    let folder = spool.folder(name(stream))?;
    let mut names: Vec<String> = folder.list()?.into_iter().map(|(name, _)| name).collect();
    names.retain(|name| name.ends_with(SUFFIX));
    names.sort_by_key(|name| (name.contains(boot), name.clone()));
    for name in names {
        match folder.read(&name)?.map(|bytes| Batch::decode(bytes.as_slice())) {
            Some(Ok(batch)) if batch.out_of_bounds().is_none() => return Ok(Some((name, batch))),
            Some(_) => folder.remove(&name)?,
            None => {}
        }
    }
    Ok(None)
}

/// The batch was acknowledged, or will never be accepted.
///
/// # Errors
/// The disk says no: it is sent again, which is harmless.
pub fn done(spool: &Folder, stream: Stream, batch: &str) -> Result<(), FolderError> {
    spool.folder(name(stream))?.remove(batch)
}

#[cfg(test)]
mod tests {
    use watertight_fleet_wire::records::Alert;

    use super::*;

    fn alert(text: &str) -> Body {
        Body::Alert(Alert { title: text.into(), ..Alert::default() })
    }

    fn titles(batch: &Batch) -> Vec<String> {
        let title = |record: &Record| match &record.body {
            Some(Body::Alert(alert)) => alert.title.clone(),
            _ => String::new(),
        };
        batch.records.iter().map(title).collect()
    }

    #[test]
    fn records_come_out_in_order_and_stay_until_they_are_acknowledged() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Folder::make(dir.path()).expect("made");
        let mut writer = Writer::new(&spool, Stream::Alert, "b2", 1 << 20).expect("a writer");
        writer.add(1, alert("one"));
        writer.add(2, alert("two"));
        writer.flush();
        writer.flush();
        let mut again = Writer::new(&spool, Stream::Alert, "b2", 1 << 20).expect("a restart");
        again.add(3, alert("three"));
        again.flush();
        let mut numbers = Vec::new();
        let mut seen = Vec::new();
        while let Some((name, batch)) = oldest(&spool, Stream::Alert, "b2").expect("readable") {
            let same = oldest(&spool, Stream::Alert, "b2").expect("readable").expect("still there").1;
            assert_eq!(same, batch, "not acknowledged: it comes again, the same");
            numbers.extend(batch.records.iter().map(|record| record.sequence));
            seen.extend(titles(&batch));
            done(&spool, Stream::Alert, &name).expect("taken away");
        }
        assert_eq!((numbers, seen), (vec![1, 2, 3], vec!["one".into(), "two".into(), "three".to_owned()]));
        let mut later = Writer::new(&spool, Stream::Alert, "b2", 1 << 20).expect("a restart");
        later.add(4, alert("four"));
        later.flush();
        let batch = oldest(&spool, Stream::Alert, "b2").expect("readable").expect("a batch").1;
        assert_eq!(batch.records[0].sequence, 4, "no number is given out twice, though the spool was empty");
    }

    #[test]
    fn whoever_keeps_the_folder_to_himself_costs_records_that_are_counted_and_holds_up_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Folder::make(dir.path()).expect("a folder");
        let mut writer = Writer::new(&spool, Stream::Alert, "boot", STREAM_BYTES_MAX).expect("a writer");
        let held = spool.folder("alert").and_then(|folder| folder.lock()).expect("nobody has it");
        writer.add(1, alert("lost"));
        writer.flush();
        assert_eq!(writer.dropped(), 1);
        drop(held);
        writer.add(2, alert("kept"));
        writer.flush();
        let (_, batch) = oldest(&spool, Stream::Alert, "boot").expect("it is read").expect("a batch");
        assert_eq!((titles(&batch), batch.dropped), (vec!["kept".to_owned()], 1));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_told_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Folder::make(dir.path()).expect("made");
        let big = "x".repeat(3_000);
        let mut writer = Writer::new(&spool, Stream::Alert, "b", 8_000).expect("a writer");
        for _ in 0..5 {
            writer.add(1, alert(&big));
            writer.flush();
        }
        assert_eq!(writer.dropped(), 3);
        for _ in 0..2 {
            let (name, batch) = oldest(&spool, Stream::Alert, "b").expect("readable").expect("a batch");
            assert_eq!(batch.dropped, 0, "nothing was lost before it");
            done(&spool, Stream::Alert, &name).expect("taken away");
        }
        let mut writer = Writer::new(&spool, Stream::Alert, "b", 8_000).expect("a restart");
        writer.add(1, alert("after"));
        writer.flush();
        let batch = oldest(&spool, Stream::Alert, "b").expect("readable").expect("a batch").1;
        assert_eq!((batch.dropped, batch.records[0].sequence), (3, 6));
    }

    #[test]
    fn another_boot_begins_anew_and_what_the_one_before_left_goes_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Folder::make(dir.path()).expect("made");
        for boot in ["old", "new"] {
            let mut writer = Writer::new(&spool, Stream::Alert, boot, 1 << 20).expect("a writer");
            writer.add(1, alert(boot));
            writer.flush();
        }
        let (name, batch) = oldest(&spool, Stream::Alert, "new").expect("readable").expect("a batch");
        assert_eq!((batch.boot.as_str(), batch.records[0].sequence), ("old", 1));
        done(&spool, Stream::Alert, &name).expect("taken away");
        let batch = oldest(&spool, Stream::Alert, "new").expect("readable").expect("a batch").1;
        assert_eq!((batch.boot.as_str(), batch.records[0].sequence), ("new", 1));
    }

    #[test]
    fn a_batch_that_the_disk_spoiled_holds_up_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Folder::make(dir.path()).expect("made");
        let mut writer = Writer::new(&spool, Stream::Alert, "b", 1 << 20).expect("a writer");
        writer.add(1, alert("good"));
        writer.flush();
        let folder = spool.folder("alert").expect("there");
        folder.write("00000000000000000000-b.batch", b"\xff\xff").expect("spoiled");
        let batch = oldest(&spool, Stream::Alert, "b").expect("readable").expect("a batch").1;
        assert_eq!(titles(&batch), ["good"]);
    }
}
