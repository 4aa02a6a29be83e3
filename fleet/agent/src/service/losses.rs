//! Says in the log that records were lost for want of room in the spool: once when it begins, and how many it was when it is over.
//!
//! Each batch says how many of its stream were lost in its boot so far. What was said is kept, so that a start of the agent says nothing
//! anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watertight_fleet_wire::records::Batch;

use super::Say;
use crate::folder::Folder;
use crate::spool;

/// In the spool's folder, beside those of the streams.
const SAID: &str = "losses-said.json";

/// What was said of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    boot: String,
    /// Records that it was said of.
    dropped: u64,
    /// Records that the newest batch told of.
    newest: u64,
    /// The batch before told of more than the one before it.
    is_under_way: bool,
}

/// What was said of all streams.
#[derive(Debug)]
pub(super) struct Losses {
    said: BTreeMap<String, Said>,
    spool: Folder,
    say: Say,
}

impl Losses {
    /// What was said before. Where that can't be read, it is said again.
    pub(super) fn read(spool: &Folder, say: Say) -> Self {
        let said = spool.read_json(SAID).ok().flatten().unwrap_or_default();
        Self { said, spool: spool.clone(), say }
    }

    /// Notes a batch that the server has.
    pub(super) fn sent(&mut self, batch: &Batch) {
        let stream = spool::name(batch.stream());
        let said = self.said.entry(stream.to_owned()).or_default();
        let before = said.clone();
        if said.boot != batch.boot {
            *said = Said { boot: batch.boot.clone(), ..Said::default() };
        }
        let words = said.take(batch.dropped, stream);
        if words.is_some() || said.is_under_way != before.is_under_way {
            // Not kept, it is said again after a restart, which is the smaller harm.
            let _ = self.spool.write_json(SAID, &self.said);
        }
        if let Some(words) = words {
            (self.say)(&words);
        }
    }
}

impl Said {
    /// What is to be said of a batch of this boot, if anything.
    fn take(&mut self, dropped: u64, stream: &str) -> Option<String> {
        let is_more = dropped > self.newest;
        self.newest = self.newest.max(dropped);
        let unsaid = self.newest.saturating_sub(self.dropped);
        let words = match (self.is_under_way, is_more) {
            (false, true) => Some(format!(
                "records are lost, {unsaid} so far of the stream {stream}: the spool has no room, because the server was away or too slow or \
                 there are too many; the server is told"
            )),
            (true, false) if unsaid > 0 => {
                Some(format!("records were lost, {unsaid} more of the stream {stream}; now there is room in the spool"))
            }
            _ => None,
        };
        if words.is_some() {
            self.dropped = self.newest;
        }
        self.is_under_way = is_more;
        words
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use watertight_fleet_wire::records::Stream;

    use super::*;

    thread_local! {
        static WORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn hear(words: &str) {
        WORDS.with_borrow_mut(|all| all.push(words.to_owned()));
    }

    /// What is said after each of these batches.
    fn said(losses: &mut Losses, boot: &str, counts: &[u64]) -> Vec<String> {
        for dropped in counts {
            let stream = Stream::Alert as i32;
            losses.sent(&Batch { boot: boot.into(), stream, records: Vec::new(), dropped: *dropped });
        }
        let all = WORDS.take();
        all.iter().filter_map(|words| words.split([',', ':', ';']).nth(1)).map(|part| part.trim().to_owned()).collect()
    }

    #[test]
    fn a_stretch_of_losses_is_said_when_it_begins_and_when_it_is_over_and_no_start_says_it_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Folder::make(dir.path()).expect("made");
        let mut losses = Losses::read(&spool, hear);
        assert_eq!(said(&mut losses, "b", &[0, 0]), Vec::<String>::new());
        assert!(!dir.path().join(SAID).exists(), "a batch without losses costs no write");
        assert_eq!(said(&mut losses, "b", &[5, 5, 5]), ["5 so far of the stream alert"]);
        assert_eq!(said(&mut losses, "b", &[6, 9, 12]), ["1 so far of the stream alert"], "once a stretch");
        let mut losses = Losses::read(&spool, hear);
        assert_eq!(said(&mut losses, "b", &[12, 12]), ["6 more of the stream alert"]);
        let mut losses = Losses::read(&spool, hear);
        assert_eq!(said(&mut losses, "b", &[12, 3]), Vec::<String>::new(), "nor is an old batch news");
        assert_eq!(said(&mut losses, "c", &[2, 2]), ["2 so far of the stream alert"], "another boot counts anew");
    }
}
