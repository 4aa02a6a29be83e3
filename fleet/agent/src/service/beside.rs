//! Fetches beside the check-ins: one takes minutes where the line is slow, or hangs, and a host that is silent meanwhile is a failed one.

use std::io;
use std::sync::mpsc::{channel, Receiver, Sender, TryRecvError};

use crate::crew::Crew;
use crate::machine::{Asker, Fetched, Fetcher};

/// A thread that fetches, one at a time.
#[derive(Debug)]
pub(super) struct Beside {
    ask: Sender<Asker>,
    outcomes: Receiver<Fetched>,
    /// The generation that is fetched for now.
    generation: Option<u64>,
}

impl Beside {
    /// One of the crew fetches from now on, and rings when an outcome is there.
    ///
    /// # Errors
    /// None is idle.
    pub(super) fn start(mut fetcher: Box<dyn Fetcher>, ring: Sender<()>, crew: &mut Crew) -> io::Result<Self> {
        let (ask, asked) = channel::<Asker>();
        let (tell, outcomes) = channel();
        crew.give(move || {
            for asker in asked {
                if tell.send(fetcher.fetch(&asker)).is_err() || ring.send(()).is_err() {
                    return; // nobody is left who wants it
                }
            }
        })?;
        Ok(Self { ask, outcomes, generation: None })
    }

    /// Begins to fetch for this generation, unless a fetch is under way: whoever asks again after its outcome gets another.
    pub(super) fn begin(&mut self, generation: u64, asker: Asker) {
        if self.generation.is_none() {
            self.generation = Some(generation);
            let _ = self.ask.send(asker); // that nobody takes it is found out by who waits for the outcome
        }
    }

    /// What became of a fetch that has ended since this was asked last, and of which generation it was.
    pub(super) fn ended(&mut self) -> Option<(u64, Fetched)> {
        let generation = self.generation?;
        let fetched = match self.outcomes.try_recv() {
            Ok(fetched) => fetched,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                Fetched { failed: Some("the thread that fetches is gone".to_owned()), ..Fetched::default() }
            }
        };
        self.generation = None;
        Some((generation, fetched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fetch that takes until it is told what became of it.
    struct Slow(Receiver<Fetched>, Sender<String>);

    impl Fetcher for Slow {
        fn fetch(&mut self, asker: &Asker) -> Fetched {
            self.1.send(asker.host.clone()).expect("the test listens");
            self.0.recv().expect("the test tells")
        }
    }

    #[test]
    fn one_fetch_is_under_way_at_most_and_its_outcome_rings_and_is_told_once() {
        let (end, ends) = channel();
        let (begun, begins) = channel();
        let (ring, rings) = channel();
        let mut crew = Crew::start(1).expect("a thread");
        let mut beside = Beside::start(Box::new(Slow(ends, begun)), ring, &mut crew).expect("it is idle");
        let asker = |host: &str| Asker { host: host.into(), ..Asker::default() };
        assert_eq!(beside.ended(), None);
        beside.begin(1, asker("a"));
        beside.begin(2, asker("b"));
        assert_eq!(begins.recv().expect("it begins"), "a");
        assert_eq!(beside.ended(), None, "it hangs, and nobody waits for it");
        end.send(Fetched { is_paused: true, ..Fetched::default() }).expect("it waits for this");
        rings.recv().expect("it rings");
        let (generation, fetched) = beside.ended().expect("an outcome");
        assert!(generation == 1 && fetched.is_paused);
        assert_eq!(beside.ended(), None);
        beside.begin(2, asker("c"));
        assert_eq!(begins.recv().expect("it begins"), "c");
        drop(end); // and panics
        while beside.ended().is_none_or(|(_, fetched)| fetched.failed.is_none()) {
            std::thread::yield_now();
        }
    }
}
