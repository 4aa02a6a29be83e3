//! Sequences as the slow sibling sees them: a list of everything that is under way, gone through with every hit.

use super::account::Verdict;
use super::key::Digest;
use super::sequence::Stage;
use super::slow::{Notes, Open};
use super::{bit, Fired, Given, Moment, PARTS};

/// All that is under way in a sequence.
#[derive(Debug)]
pub(super) struct Ways {
    stages: Vec<Stage>,
    timespan_ns: u64,
    absent_ns: u64,
    /// What was begun or went on last comes last.
    under_way: Vec<Way>,
    /// Those whose last stage must stay away.
    waiting: Vec<Way>,
    /// How many there were.
    count: u64,
}

/// One of them.
#[derive(Clone, Debug)]
struct Way {
    parts: [Digest; PARTS],
    /// When each stage happened, as far as it has come.
    path: Vec<Moment>,
    /// When the last of them was judged.
    since_ns: u64,
    /// Which it is.
    id: u64,
}

impl Way {
    fn begin(&self) -> Moment {
        self.path.first().copied().unwrap_or_default()
    }

    fn last(&self) -> Moment {
        self.path.last().copied().unwrap_or_default()
    }
}

/// What fired, and when its stages happened.
type Complete = (Fired, Vec<Moment>);

impl Ways {
    pub(super) fn new(stages: Vec<Stage>, timespan_ns: u64, absent_ns: u64) -> Self {
        Self { stages, timespan_ns, absent_ns, under_way: Vec::new(), waiting: Vec::new(), count: 0 }
    }

    pub(super) fn take(&mut self, given: &Given, notes: &mut Notes) -> Option<Complete> {
        let stage = *self.stages.get(given.stage as usize)?;
        let since_ns = given.moment.time_ns;
        if given.stage == 0 {
            let way = self.way(given.parts, vec![given.moment], since_ns);
            return self.reach(way, given, notes);
        }
        let is_last = self.stages.len() == (given.stage as usize).saturating_add(1);
        if is_last && self.absent_ns > 0 {
            self.call_off(stage, given, notes);
            return None;
        }
        let tells_more = stage.gives & !(stage.joins | stage.differs) != 0;
        let (mut complete, mut is_noted) = (None, false);
        // The newest first, as the engine finds them.
        let is_asked = |way: &&Way| way.path.len() == given.stage as usize && joins(stage, way, given);
        let asked: Vec<Way> = self.under_way.iter().filter(is_asked).rev().cloned().collect();
        for way in asked {
            let limit_ns = way.begin().time_ns.saturating_add(self.timespan_ns);
            let stops = if limit_ns < since_ns {
                self.remove(way.id);
                Some(Verdict::TooLate { began: way.begin(), by_ns: since_ns.saturating_sub(limit_ns) })
            } else if way.last().number == given.moment.number {
                Some(Verdict::SameEvent)
            } else if !differs(stage, &way, given) {
                Some(Verdict::NotDifferent { began: way.begin() })
            } else {
                None
            };
            if let Some(verdict) = stops {
                is_noted = true;
                notes.add(given.stage, given.moment, given.parts, verdict);
                continue;
            }
            if !tells_more || is_last {
                self.remove(way.id);
            }
            if complete.is_some() {
                continue; // one alert an event
            }
            is_noted = true;
            let mut path = way.path.clone();
            path.push(given.moment);
            let reached = self.way(merged(stage, &way, given), path, since_ns);
            complete = self.reach(reached, given, notes);
        }
        if !is_noted {
            let before = given.stage.saturating_sub(1) as usize;
            let elsewhere = notes.last.get(before).copied().flatten();
            notes.add(given.stage, given.moment, given.parts, Verdict::NothingBefore { elsewhere });
        }
        complete
    }

    fn way(&mut self, parts: [Digest; PARTS], path: Vec<Moment>, since_ns: u64) -> Way {
        self.count = self.count.saturating_add(1);
        Way { parts, path, since_ns, id: self.count }
    }

    fn remove(&mut self, id: u64) {
        self.under_way.retain(|way| way.id != id);
    }

    /// A way has come to a stage.
    fn reach(&mut self, way: Way, given: &Given, notes: &mut Notes) -> Option<Complete> {
        let reached = way.path.len();
        if reached == self.stages.len() {
            let count = reached as u64;
            return Some((Fired { parts: way.parts, moment: given.moment, count, is_by_clock: false }, way.path));
        }
        let is_same = |other: &Way| other.path.len() == reached && other.parts == way.parts;
        if self.absent_ns > 0 && self.stages.len() == reached.saturating_add(1) {
            let until_ns = given.moment.time_ns.saturating_add(self.absent_ns);
            if self.waiting.iter().any(is_same) {
                notes.add(given.stage, given.moment, given.parts, Verdict::AlreadyWaits);
            } else {
                notes.add(given.stage, given.moment, given.parts, Verdict::WaitsUntil { time_ns: until_ns });
                self.waiting.push(way);
            }
            return None;
        }
        if let Some(known) = self.under_way.iter().position(is_same) {
            if self.under_way.get(known).is_some_and(|old| old.begin().time_ns > way.begin().time_ns) {
                return None;
            }
            self.under_way.remove(known);
        }
        notes.add(given.stage, given.moment, way.parts, Verdict::Reached { began: way.begin() });
        self.under_way.push(way);
        None
    }

    fn call_off(&mut self, stage: Stage, given: &Given, notes: &mut Notes) {
        let before = self.waiting.len();
        let mut began = Moment::default();
        self.waiting.retain(|way| {
            let is_met =
                joins(stage, way, given) && way.last().number != given.moment.number && differs(stage, way, given);
            if is_met {
                began = way.begin();
            }
            !is_met
        });
        let verdict = match self.waiting.len() == before {
            true => Verdict::NothingBefore { elsewhere: None },
            false => Verdict::CalledOff { began },
        };
        notes.add(given.stage, given.moment, given.parts, verdict);
    }

    /// The oldest whose last stage stayed away for long enough.
    pub(super) fn due(&mut self, now_ns: u64, notes: &mut Notes) -> Option<Complete> {
        let deadline = self.deadline().filter(|deadline| *deadline < now_ns)?;
        let Way { parts, path, .. } = self.waiting.remove(0);
        let last = path.last().copied().unwrap_or_default();
        let (moment, count) = (Moment { time_ns: deadline, number: last.number }, path.len() as u64);
        let stage = u32::try_from(path.len()).unwrap_or(0).saturating_sub(1);
        notes.add(stage, moment, parts, Verdict::Fired { count });
        Some((Fired { parts, moment, count, is_by_clock: true }, path))
    }

    pub(super) fn has_clock(&self) -> bool {
        self.absent_ns > 0
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        Some(self.waiting.first()?.since_ns.saturating_add(self.absent_ns))
    }

    pub(super) fn open(&self) -> Vec<Open> {
        let open = |way: &Way, until_ns: u64| Open {
            parts: way.parts,
            reached: u32::try_from(way.path.len()).ok().and_then(|reached| reached.checked_sub(1)),
            since: way.begin(),
            until_ns,
            hits: way.path.len(),
        };
        let begun = self.under_way.iter().map(|way| open(way, way.begin().time_ns.saturating_add(self.timespan_ns)));
        let waits = self.waiting.iter().map(|way| open(way, way.since_ns.saturating_add(self.absent_ns)));
        begun.chain(waits).collect()
    }
}

/// The parts of a mask, of a way and of a hit.
fn parts_of<'w>(mask: u32, way: &'w Way, given: &'w Given) -> impl Iterator<Item = (Digest, Digest)> + 'w {
    let both = (0_u32..).zip(way.parts.iter().zip(&given.parts));
    both.filter(move |(part, _)| mask & bit(*part) != 0).map(|(_, (known, given))| (*known, *given))
}

fn joins(stage: Stage, way: &Way, given: &Given) -> bool {
    parts_of(stage.joins, way, given).all(|(known, given)| known == given)
}

fn differs(stage: Stage, way: &Way, given: &Given) -> bool {
    parts_of(stage.differs, way, given).all(|(known, given)| known != given)
}

/// What is known of the key with what this stage tells.
fn merged(stage: Stage, way: &Way, given: &Given) -> [Digest; PARTS] {
    let fresh = stage.gives & !(stage.joins | stage.differs);
    let mut parts = way.parts;
    for ((part, known), told) in (0_u32..).zip(parts.iter_mut()).zip(&given.parts) {
        if fresh & bit(part) != 0 {
            *known = *told;
        }
    }
    parts
}
