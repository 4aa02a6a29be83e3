//! Every way of a pack through the slots, on names in memory.

use super::*;

fn id(name: &str) -> ContentId {
    ContentId::of(name.as_bytes())
}

/// A folder in memory, on a disk that never fails: only its names.
struct Names(BTreeSet<String>);

impl Names {
    fn state(&self) -> State {
        State::of(self.0.iter().cloned(), id("factory"))
    }

    fn choice(&self) -> Choice {
        self.state().choose(&BTreeSet::new())
    }

    fn after(&mut self, event: Event<'_>) -> &mut Self {
        for op in plan(&self.state(), event).expect("not refused") {
            match op {
                Op::Write { name, .. } => assert!(self.0.insert(name)),
                Op::Rename { from, to } => assert!(self.0.remove(&from) && self.0.insert(to)),
                Op::Unlink { name } => assert!(self.0.remove(&name)),
                Op::SyncFile { .. } | Op::SyncFolder => {}
            }
        }
        self
    }

    /// The content that is chosen is begun and dies.
    fn dies(&mut self) -> &mut Self {
        if let Choice::Candidate(held) = self.choice() {
            self.after(Event::Begun(held));
        }
        let state = self.state();
        let begun = state.candidates.last().map(|held| Choice::Candidate(*held));
        let choice = begun.unwrap_or_else(|| self.choice());
        self.after(Event::Died(choice, "it aborts"))
    }
}

fn folder() -> Names {
    Names(BTreeSet::new())
}

#[test]
fn without_anything_the_factory_content_is_in_force() {
    assert_eq!(folder().choice(), Choice::Factory(id("factory")));
}

#[test]
fn a_candidate_that_dies_twice_makes_room_for_the_last_known_good_which_makes_room_for_the_factory() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"good" });
    let Choice::Candidate(held) = names.choice() else { panic!("{:?}", names.choice()) };
    names.after(Event::Begun(held));
    let begun = Choice::Candidate(names.state().candidates[0]);
    names.after(Event::Lived(begun));
    assert_eq!(names.choice().slot(), Slot::LastKnownGood);
    names.after(Event::Installed { version: 2, bytes: b"bad" });
    let ladder: Vec<Slot> = (0..7).map(|_| names.dies().choice().slot()).collect();
    use Slot::{Candidate, CollectOnly, Factory, LastKnownGood};
    assert_eq!(ladder, [Candidate, LastKnownGood, LastKnownGood, Factory, Factory, CollectOnly, CollectOnly]);
    let gone = [id("bad"), id("good"), id("factory")];
    assert_eq!(names.state().quarantined, gone.into_iter().collect());
    assert_eq!(names.0.len(), gone.len(), "nothing else is left: {:?}", names.0);
}

#[test]
fn a_try_counts_from_its_beginning_so_that_one_without_an_end_counts_too() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"bad" });
    for _ in 0..2 {
        let Choice::Candidate(held) = names.choice() else { panic!("{:?}", names.choice()) };
        names.after(Event::Begun(held)).after(Event::Start);
    }
    assert_eq!(names.choice().slot(), Slot::Factory);
    assert!(names.state().quarantined.contains(&id("bad")));
}

#[test]
fn only_tries_that_were_used_up_without_an_end_are_kept_as_such() {
    let record = |ops: &[Op]| {
        let bytes = ops.iter().find_map(|op| match op {
            Op::Write { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        bytes.and_then(|record| super::super::Quarantined::read(id("bad"), &record))
    };
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"bad" });
    let Choice::Candidate(held) = names.choice() else { panic!("{:?}", names.choice()) };
    names.after(Event::Begun(held));
    let start = plan(&names.state(), Event::Start).expect("not refused");
    assert_eq!(record(&start), None, "one try may be a power cut");
    let Choice::Candidate(held) = names.choice() else { panic!("{:?}", names.choice()) };
    names.after(Event::Begun(held));
    let begun = Choice::Candidate(names.state().candidates[0]);
    let unended = record(&plan(&names.state(), Event::Start).expect("not refused")).expect("a record");
    assert!(unended.is_unended && unended.cause.contains("went down"), "{unended:?}");
    assert_eq!(unended.slot, "candidate");
    let died = record(&plan(&names.state(), Event::Died(begun, "it aborts")).expect("not refused")).expect("a record");
    assert!(!died.is_unended && died.cause == "it aborts", "{died:?}");
}

#[test]
fn a_trial_that_the_run_ended_costs_no_try() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"new" });
    for _ in 0..5 {
        let Choice::Candidate(held) = names.choice() else { panic!("{:?}", names.choice()) };
        names.after(Event::Begun(held));
        let begun = names.state().candidates[0];
        names.after(Event::Ended(begun)).after(Event::Start);
    }
    assert_eq!(names.state().candidates[0].tries, Tries::fresh());
}

#[test]
fn content_in_quarantine_is_refused_until_it_is_forgotten() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"bad" }).dies().dies();
    let install = Event::Installed { version: 1, bytes: b"bad" };
    assert_eq!(plan(&names.state(), install), Err(Refusal::Quarantined { id: id("bad") }));
    names.after(Event::Forgotten(id("bad"))).after(install);
    assert_eq!(names.choice().slot(), Slot::Candidate);
    let unknown = plan(&names.state(), Event::Forgotten(id("other")));
    assert_eq!(unknown, Err(Refusal::NotQuarantined { id: id("other") }));
}

#[test]
fn content_that_its_loader_did_not_survive_is_refused_and_what_is_in_a_slot_stays() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"good" });
    names.after(Event::Fatal(id("bad"), "it aborts")).after(Event::Fatal(id("bad"), "it aborts"));
    let install = Event::Installed { version: 1, bytes: b"bad" };
    assert_eq!(plan(&names.state(), install), Err(Refusal::Quarantined { id: id("bad") }));
    names.after(Event::Fatal(id("good"), "memory")).after(Event::Fatal(id("factory"), "memory"));
    assert_eq!(names.state().quarantined, [id("bad")].into());
    assert_eq!(names.choice().id(), Some(id("good")));
}

#[test]
fn collect_only_ends_when_the_factory_content_is_forgiven() {
    let mut names = folder();
    names.dies().dies();
    assert_eq!(names.choice(), Choice::CollectOnly);
    assert_eq!(names.after(Event::Forgotten(id("factory"))).choice().slot(), Slot::Factory);
    assert_eq!(names.state().factory_tries, Vec::new());
}

#[test]
fn a_second_candidate_takes_the_place_of_one_that_is_on_trial() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"one" });
    names.after(Event::Installed { version: 2, bytes: b"two" });
    assert_eq!(names.choice().id(), Some(id("two")));
    assert_eq!(names.state().candidates.len(), 1);
    let again = plan(&names.state(), Event::Installed { version: 2, bytes: b"two" });
    assert_eq!(again, Err(Refusal::There { id: id("two"), slot: "candidate" }));
}

#[test]
fn installing_what_is_known_to_live_ends_the_trial_of_another() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"good" });
    let candidate = Choice::Candidate(names.state().candidates[0]);
    names.after(Event::Lived(candidate)).after(Event::Installed { version: 2, bytes: b"new" });
    assert_eq!(names.choice().slot(), Slot::Candidate);
    names.after(Event::Installed { version: 1, bytes: b"good" });
    assert_eq!((names.choice().slot(), names.choice().id()), (Slot::LastKnownGood, Some(id("good"))));
}

#[test]
fn deaths_are_forgiven_once_the_content_has_lived() {
    let mut names = folder();
    for _ in 0..5 {
        names.dies();
        let choice = names.choice();
        assert_eq!(choice.slot(), Slot::Factory);
        names.after(Event::Lived(choice));
    }
    assert!(names.0.is_empty(), "{:?}", names.0);
}

#[test]
fn the_deaths_of_an_executable_that_was_replaced_say_nothing_about_this_one() {
    let old = Entry::Factory(id("old factory"), "1-1".parse().expect("a count"));
    let mut names = Names([old.to_string()].into_iter().collect());
    assert_eq!(names.state().factory_tries, Vec::new());
    assert!(names.after(Event::Start).0.is_empty());
}

#[test]
fn what_is_recalled_leaves_its_slot_for_good_and_the_factory_content_can_t_be() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"good" });
    let candidate = Choice::Candidate(names.state().candidates[0]);
    names.after(Event::Lived(candidate)).after(Event::Installed { version: 2, bytes: b"new" });
    names.after(Event::Recalled(id("new")));
    assert_eq!(names.choice().id(), Some(id("good")));
    let install = Event::Installed { version: 2, bytes: b"new" };
    assert_eq!(plan(&names.state(), install), Err(Refusal::Quarantined { id: id("new") }));
    names.after(Event::Recalled(id("good"))).after(Event::Recalled(id("good")));
    assert_eq!(names.state().quarantined, [id("new"), id("good")].into());
    assert_eq!(names.after(Event::Recalled(id("factory"))).choice().slot(), Slot::Factory);
}

#[test]
fn what_is_recalled_before_it_comes_does_not_come() {
    let mut names = folder();
    names.after(Event::Recalled(id("next"))).after(Event::Recalled(id("next")));
    let install = Event::Installed { version: 1, bytes: b"next" };
    assert_eq!(plan(&names.state(), install), Err(Refusal::Quarantined { id: id("next") }));
    assert_eq!(names.after(Event::Start).choice().slot(), Slot::Factory);
}

#[test]
fn bytes_that_are_not_those_of_the_pack_are_set_aside_and_the_pack_may_come_again() {
    let mut names = folder();
    names.after(Event::Installed { version: 1, bytes: b"one" });
    let choice = names.choice();
    names.after(Event::Damaged(choice, id("half"), "the disk lost some"));
    let state = names.state();
    assert_eq!((state.candidates, state.quarantined), (Vec::new(), BTreeSet::from([id("half")])));
    names.after(Event::Installed { version: 1, bytes: b"one" });
    assert_eq!(names.choice().id(), Some(id("one")));
    // Bytes that the host has as other content: that has done nothing either.
    let choice = names.choice();
    names.after(Event::Damaged(choice, id("factory"), "it was changed"));
    assert_eq!(names.state().quarantined, BTreeSet::from([id("half")]));
    assert_eq!(names.choice().slot(), Slot::Factory);
}

#[test]
fn what_was_at_work_when_the_machine_went_down_is_the_candidate_only_once_its_trial_was_begun() {
    let mut names = folder();
    assert_eq!(names.state().at_work(), id("factory"));
    names.after(Event::Installed { version: 1, bytes: b"new" });
    assert_eq!(names.state().at_work(), id("factory"), "nobody has begun it");
    for _ in 0..2 {
        let Choice::Candidate(held) = names.choice() else { panic!("{:?}", names.choice()) };
        names.after(Event::Begun(held));
        assert_eq!(names.state().at_work(), id("new"), "the machine goes down with it, also with its last try");
    }
    names.after(Event::Start);
    assert_eq!(names.state().at_work(), id("factory"), "it is in quarantine");
}
