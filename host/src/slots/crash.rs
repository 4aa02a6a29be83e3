//! A power cut at every step of every plan, on a disk that keeps what was synced and any part of the rest.
//!
//! The disk is the worst that POSIX allows: names and bytes that were not synced reach it or not, each for itself and in any order;
//! bytes may arrive in part. Every prefix of the operations is cut off, and of those that were not synced then every subset is lost
//! (up to eight of them; more are sampled with a fixed seed).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::content_id::ContentId;
use super::disk::{carry_out, Disk, Op};
use super::entry::Entry;
use super::planner::{plan, Choice, Event, Slot, State};

/// Operations of which every subset is tried.
const SUBSET_MAX: usize = 8;
/// Subsets that are tried of more.
const SAMPLES: u64 = 256;
const FACTORY: &[u8] = b"factory";

/// A change that has not reached the disk for certain.
#[derive(Clone, Debug)]
enum Pending {
    /// The file has these bytes.
    Bytes { file: usize, bytes: Vec<u8> },
    /// The file got this name.
    Named { name: String, file: usize },
    /// It has another one; both change at once.
    Renamed { from: String, to: String, file: usize },
    /// The name went.
    Unnamed { name: String },
}

/// What is on the disk for certain, what is in memory, and what lies between.
#[derive(Clone, Debug, Default)]
struct Cut {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    durable_names: BTreeMap<String, usize>,
    durable_files: Vec<Vec<u8>>,
    pending: Vec<Pending>,
}

impl Cut {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn make_durable(&mut self, is_now: impl Fn(&Pending) -> bool) {
        let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(|pending| is_now(pending));
        self.pending = later;
        let now: Vec<Pending> = now;
        now.iter().for_each(|pending| reach(&mut self.durable_names, &mut self.durable_files, pending));
    }

    /// The disk after a cut at which these pending changes had reached it; of the bytes that had not, some have.
    fn after_cut(&self, has_reached: &dyn Fn(usize) -> bool) -> Self {
        let (mut names, mut files) = (self.durable_names.clone(), self.durable_files.clone());
        for (at, pending) in self.pending.iter().enumerate() {
            match pending {
                _ if has_reached(at) => reach(&mut names, &mut files, pending),
                Pending::Bytes { file, bytes } => files[*file] = bytes[..bytes.len() / 2].to_vec(),
                _ => {}
            }
        }
        Self {
            names: names.clone(),
            files: files.clone(),
            durable_names: names,
            durable_files: files,
            pending: Vec::new(),
        }
    }
}

fn reach(names: &mut BTreeMap<String, usize>, files: &mut [Vec<u8>], pending: &Pending) {
    match pending {
        Pending::Bytes { file, bytes } => files[*file].clone_from(bytes),
        Pending::Named { name, file } => {
            names.insert(name.clone(), *file);
        }
        Pending::Renamed { from, to, file } => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
        Pending::Unnamed { name } => {
            names.remove(name);
        }
    }
}

impl Disk for Cut {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&self, name: &str, _size_bytes_max: u64) -> io::Result<Vec<u8>> {
        Ok(self.files[self.file(name)?].clone())
    }

    fn apply(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Write { name, bytes } => {
                let file = self.files.len();
                self.files.push(bytes.clone());
                self.durable_files.push(Vec::new());
                self.names.insert(name.clone(), file);
                self.pending.push(Pending::Named { name: name.clone(), file });
                self.pending.push(Pending::Bytes { file, bytes: bytes.clone() });
            }
            Op::SyncFile { name } => {
                let synced = self.file(name)?;
                self.make_durable(|pending| matches!(pending, Pending::Bytes { file, .. } if *file == synced));
            }
            Op::Rename { from, to } => {
                let file = self.file(from)?;
                self.names.remove(from);
                self.names.insert(to.clone(), file);
                self.pending.push(Pending::Renamed { from: from.clone(), to: to.clone(), file });
            }
            Op::Unlink { name } => {
                if self.names.remove(name).is_some() {
                    self.pending.push(Pending::Unnamed { name: name.clone() });
                }
            }
            Op::SyncFolder => self.make_durable(|pending| !matches!(pending, Pending::Bytes { .. })),
        }
        Ok(())
    }
}

fn state(disk: &Cut) -> State {
    State::of(disk.names().expect("memory"), ContentId::of(FACTORY))
}

/// What a host does with the disk that it finds: it tidies up and takes the first content of the ladder whose bytes are right.
fn start(disk: &Cut) -> (Choice, State) {
    let mut disk = disk.clone();
    let tidying = plan(&state(&disk), Event::Start).expect("a start is not refused");
    carry_out(&mut disk, &tidying).expect("memory");
    let choice = state(&disk).choose(&BTreeSet::new());
    let name = match choice {
        Choice::Candidate(held) => Entry::Candidate(held).to_string(),
        Choice::Good(held) => Entry::Good(held).to_string(),
        Choice::Factory(_) | Choice::CollectOnly => return (choice, state(&disk)),
    };
    let bytes = disk.read(&name, u64::MAX).expect("it was listed");
    assert_eq!(Some(ContentId::of(&bytes)), choice.id(), "the bytes of {name} are not its content");
    (choice, state(&disk))
}

/// Pending changes of which each subset reaches the disk, one after the other.
fn subsets(pending: usize) -> Vec<u64> {
    if pending <= SUBSET_MAX {
        return (0..1_u64 << pending).collect();
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..SAMPLES).map(next).collect()
}

/// Tries every cut of a plan. Returns how many there were.
fn cut_everywhere(before: &Cut, event: Event<'_>) -> usize {
    let ops = plan(&state(before), event).expect("not refused");
    let (choice_before, state_before) = start(before);
    let mut done = before.clone();
    carry_out(&mut done, &ops).expect("memory");
    let (choice_after, state_after) = start(&done);
    assert!(done.pending.is_empty(), "a plan ends durable: {:?}", done.pending);
    let mut cuts = 0;
    for length in 0..=ops.len() {
        let mut disk = before.clone();
        carry_out(&mut disk, &ops[..length]).expect("memory");
        for subset in subsets(disk.pending.len()) {
            let cut = disk.after_cut(&|at| subset & (1 << (at % 64)) != 0);
            let (choice, state) = start(&cut);
            let (slot, id) = (choice.slot(), choice.id());
            let is_known = [choice_before, choice_after].iter().any(|known| (known.slot(), known.id()) == (slot, id));
            assert!(is_known, "{event:?} cut after {length} of {ops:?}, subset {subset:b}: {choice:?}");
            let (old, new) = (&state_before.quarantined, &state_after.quarantined);
            assert!(state.quarantined.is_superset(&(old & new)), "nothing leaves quarantine by a cut");
            assert!(state.quarantined.is_subset(&(old | new)), "nothing comes into it that should not");
            // A second start, after a cut within the tidying of the first, is no worse.
            let again = plan(&self::state(&cut), Event::Start).expect("a start is not refused");
            for length in 0..again.len() {
                let mut disk = cut.clone();
                carry_out(&mut disk, &again[..length]).expect("memory");
                for subset in subsets(disk.pending.len()) {
                    let (second, _) = start(&disk.after_cut(&|at| subset & (1 << (at % 64)) != 0));
                    assert_eq!((second.slot(), second.id()), (slot, id), "{event:?}: a cut of the tidying");
                    cuts += 1;
                }
            }
            cuts += 1;
        }
    }
    cuts
}

fn after(disk: &mut Cut, event: Event<'_>) {
    let ops = plan(&state(disk), event).expect("not refused");
    carry_out(disk, &ops).expect("memory");
}

fn candidate(disk: &Cut) -> Choice {
    Choice::Candidate(*state(disk).candidates.last().expect("there is one"))
}

fn held(choice: Choice) -> super::entry::Held {
    let Choice::Candidate(held) = choice else { panic!("{choice:?}") };
    held
}

#[test]
fn after_a_power_cut_at_any_write_the_host_starts_on_a_valid_slot() {
    let mut disk = Cut::default();
    let mut cuts = 0;
    let mut next = |disk: &mut Cut, event: Event<'_>| {
        cuts += cut_everywhere(disk, event);
        after(disk, event);
    };
    next(&mut disk, Event::Installed { version: 1, bytes: b"one" });
    let first = candidate(&disk);
    next(&mut disk, Event::Begun(held(first)));
    let begun = candidate(&disk);
    next(&mut disk, Event::Ended(held(begun)));
    let again = candidate(&disk);
    next(&mut disk, Event::Begun(held(again)));
    let begun = candidate(&disk);
    next(&mut disk, Event::Lived(begun));
    next(&mut disk, Event::Installed { version: 2, bytes: b"two" });
    next(&mut disk, Event::Installed { version: 3, bytes: b"three" });
    let third = candidate(&disk);
    next(&mut disk, Event::Begun(held(third)));
    let begun = candidate(&disk);
    next(&mut disk, Event::Lived(begun));
    next(&mut disk, Event::Fatal(ContentId::of(b"killer"), "it aborts"));
    next(&mut disk, Event::Installed { version: 5, bytes: b"five" });
    let damaged = candidate(&disk);
    next(&mut disk, Event::Damaged(damaged, ContentId::of(b"fi"), "the disk lost some of it"));
    next(&mut disk, Event::Installed { version: 6, bytes: b"six" });
    let refused = candidate(&disk);
    next(&mut disk, Event::Refused(refused, "the loader does not take it"));
    next(&mut disk, Event::Installed { version: 7, bytes: b"seven" });
    next(&mut disk, Event::Recalled(ContentId::of(b"seven")));
    next(&mut disk, Event::Installed { version: 8, bytes: b"eight" });
    let eighth = candidate(&disk);
    next(&mut disk, Event::Begun(held(eighth)));
    next(&mut disk, Event::Recalled(ContentId::of(b"eight")));
    next(&mut disk, Event::Recalled(ContentId::of(b"never was here")));
    next(&mut disk, Event::Installed { version: 9, bytes: b"nine" });
    next(&mut disk, Event::Withdrawn(ContentId::of(b"nine")));
    next(&mut disk, Event::Withdrawn(ContentId::of(b"nor was this")));
    next(&mut disk, Event::Installed { version: 4, bytes: b"four" });
    for _ in 0..2 {
        let tried = candidate(&disk);
        next(&mut disk, Event::Begun(held(tried)));
        let begun = candidate(&disk);
        next(&mut disk, Event::Died(begun, "it aborts"));
    }
    for slot in [Slot::LastKnownGood, Slot::LastKnownGood, Slot::Factory, Slot::Factory] {
        let choice = state(&disk).choose(&BTreeSet::new());
        assert_eq!(choice.slot(), slot);
        next(&mut disk, Event::Died(choice, "it aborts"));
    }
    assert_eq!(state(&disk).choose(&BTreeSet::new()), Choice::CollectOnly);
    next(&mut disk, Event::Forgotten(ContentId::of(FACTORY)));
    let factory = state(&disk).choose(&BTreeSet::new());
    next(&mut disk, Event::Died(factory, "it aborts"));
    next(&mut disk, Event::Lived(factory));
    next(&mut disk, Event::Start);
    assert!(cuts > 400, "only {cuts} cuts");
}

#[test]
fn after_a_power_cut_while_a_damaged_slot_is_mended_it_holds_what_it_held_or_what_it_should() {
    let mut disk = Cut::default();
    after(&mut disk, Event::Installed { version: 1, bytes: b"one" });
    let choice = candidate(&disk);
    let name = Entry::Candidate(held(choice)).to_string();
    disk.files[disk.names[&name]] = b"damaged".to_vec();
    disk.durable_files.clone_from(&disk.files);
    let ops = plan(&state(&disk), Event::Mended(choice, b"one")).expect("not refused");
    let mut found = BTreeSet::new();
    for length in 0..=ops.len() {
        let mut cut = disk.clone();
        carry_out(&mut cut, &ops[..length]).expect("memory");
        for subset in subsets(cut.pending.len()) {
            let cut = cut.after_cut(&|at| subset & (1 << at) != 0);
            assert_eq!(state(&cut).candidates.len(), 1, "{ops:?} cut after {length}");
            found.insert(cut.read(&name, 9).expect("it has its name"));
        }
    }
    assert_eq!(found, [b"damaged".to_vec(), b"one".to_vec()].into());
    carry_out(&mut disk, &ops).expect("memory");
    assert_eq!(start(&disk).0, choice);
}

#[test]
fn the_disk_of_these_tests_loses_what_was_not_synced() {
    let mut disk = Cut::default();
    let mut apply = |op: Op| disk.apply(&op).expect("memory");
    apply(Op::Write { name: "a".into(), bytes: b"bytes".to_vec() });
    apply(Op::Rename { from: "a".into(), to: "b".into() });
    apply(Op::SyncFolder);
    let cut = disk.after_cut(&|_| false);
    assert_eq!(cut.read("b", 9).expect("its name was synced"), b"by", "its bytes were not");
}

#[test]
fn a_plan_that_names_before_it_syncs_is_found_out() {
    let ops = plan(
        &State { factory: ContentId::of(FACTORY), ..State::default() },
        Event::Installed { version: 1, bytes: b"one" },
    );
    let wrong: Vec<Op> =
        ops.expect("not refused").into_iter().filter(|op| !matches!(op, Op::SyncFile { .. })).collect();
    let mut disk = Cut::default();
    carry_out(&mut disk, &wrong).expect("memory");
    let found = std::panic::catch_unwind(|| start(&disk.after_cut(&|_| false)));
    assert!(found.is_err(), "the bytes were lost and nobody noticed");
}
