//! How well buckets fit bugs: `bucket_quality FOLDER` with logs that have their title in front, as the public corpus has.
//!
//! The titles stand for bugs. B-cubed precision says how much of a bucket is one bug, recall how much of a bug is in one bucket; beside
//! it the same for grouping by the innermost function alone, which is what one would do without buckets.

use std::collections::BTreeMap;
use std::path::Path;

use watertight_triage::report::Report;

/// A log's bug, and the groups that it was put into.
struct Grouped {
    bug: String,
    bucket: String,
    top_frame: String,
}

/// A way to group, and its name.
type Grouping = (&'static str, fn(&Grouped) -> &str);

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        println!("usage: bucket_quality FOLDER");
        return;
    };
    let entries = std::fs::read_dir(Path::new(&folder)).into_iter().flatten();
    let texts = entries.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
    let all: Vec<Grouped> =
        texts.filter_map(|bytes| grouped(&String::from_utf8_lossy(&bytes).replace('\r', ""))).collect();
    let mut bugs: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &all {
        *bugs.entry(one.bug.as_str()).or_default() += 1;
    }
    let repeated = bugs.values().filter(|count| **count > 1).count();
    println!("{} logs of {} bugs, {repeated} of them with several logs", all.len(), bugs.len());
    let groupings: [Grouping; 2] = [("bucket b1", |one| &one.bucket), ("top frame", |one| &one.top_frame)];
    for (name, group) in groupings {
        let (precision, recall) = b_cubed(&all, group);
        let f = 2.0 * precision * recall / (precision + recall);
        println!("{name}: B-cubed precision {precision:.3}, recall {recall:.3}, F {f:.3}");
    }
}

/// A log with its title in front; `None` where it has none, or its stack is missing, or nothing is found.
fn grouped(text: &str) -> Option<Grouped> {
    let bug = text.lines().next()?.strip_prefix("TITLE: ")?.trim().to_owned();
    if bug.is_empty() || bug.contains("corrupted") {
        return None;
    }
    let mut first: Option<Report> = None;
    watertight_triage::linux::read(text.split_once("\n\n")?.1, &mut |report| {
        first.get_or_insert(report);
    });
    let mut report = first?;
    watertight_triage::bucket::assign(&mut report);
    let top_frame = report.frames.first().and_then(|frame| frame.function.clone()).unwrap_or_default();
    Some(Grouped { bug, bucket: report.bucket?.id, top_frame })
}

/// Mean over all logs of the share of its group that is of its bug, and of the share of its bug that is in its group.
fn b_cubed(all: &[Grouped], group: fn(&Grouped) -> &str) -> (f64, f64) {
    let share = |part: usize, all: usize| {
        f64::from(u32::try_from(part).unwrap_or(0)) / f64::from(u32::try_from(all.max(1)).unwrap_or(u32::MAX))
    };
    let (mut precision, mut recall) = (0.0, 0.0);
    for one in all {
        let is_grouped = |other: &&Grouped| group(other) == group(one);
        let of_group = all.iter().filter(is_grouped).count();
        let of_bug = all.iter().filter(|other| other.bug == one.bug).count();
        let of_both = all.iter().filter(is_grouped).filter(|other| other.bug == one.bug).count();
        precision += share(of_both, of_group);
        recall += share(of_both, of_bug);
    }
    let count = f64::from(u32::try_from(all.len().max(1)).unwrap_or(u32::MAX));
    (precision / count, recall / count)
}
