//! What happened when: what was done and seen, in words, and what each host ran at each moment.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A sentence at a time.
#[derive(Clone, Debug)]
pub struct Note {
    /// Since the beginning.
    pub at: Duration,
    /// The scene that it belongs to.
    pub scene: String,
    /// In words.
    pub words: String,
}

/// What a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Nothing is known of it.
    Unknown,
    /// What came with the product.
    Factory,
    /// Content that is good, by its number.
    Good(u64),
    /// Content that kills, by its number.
    Bad(u64),
}

/// From when on a host runs what.
pub(crate) type Track = Vec<(Duration, Run)>;

/// Grows while the fleet lives.
#[derive(Debug)]
pub struct Timeline {
    begun: Instant,
    say: fn(&str),
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    scene: String,
    notes: Vec<Note>,
    tracks: Vec<Track>,
}

impl Timeline {
    /// Begins now. What is noted is said, too.
    #[must_use]
    pub fn new(say: fn(&str)) -> Self {
        Self { begun: Instant::now(), say, state: RefCell::default() }
    }

    pub(crate) fn begin(&self, scene: &str) {
        scene.clone_into(&mut self.state.borrow_mut().scene);
        (self.say)(&format!("\n== {scene}"));
    }

    pub(crate) fn note(&self, words: &str) {
        let at = self.begun.elapsed();
        (self.say)(&format!("{:7.1} s  {words}", at.as_secs_f64()));
        let mut state = self.state.borrow_mut();
        let scene = state.scene.clone();
        state.notes.push(Note { at, scene, words: words.to_owned() });
    }

    /// This host is seen to run this.
    pub(crate) fn see(&self, host: usize, runs: Run) {
        let at = self.begun.elapsed();
        let mut state = self.state.borrow_mut();
        if state.tracks.len() <= host {
            state.tracks.resize(host + 1, Track::new());
        }
        if let Some(track) = state.tracks.get_mut(host).filter(|track| track.last().is_none_or(|last| last.1 != runs)) {
            track.push((at, runs));
        }
    }

    /// How many hosts have ever run this.
    pub(crate) fn ever(&self, runs: Run) -> usize {
        self.state.borrow().tracks.iter().filter(|track| track.iter().any(|(_, ran)| *ran == runs)).count()
    }

    /// What was noted so far.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.state.borrow().notes.clone()
    }

    pub(crate) fn tracks(&self) -> Vec<Track> {
        self.state.borrow().tracks.clone()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}
