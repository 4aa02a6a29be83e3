//! Which content is in force: the first of the ladder (candidate, last-known-good, factory, none) that may be tried. A death while the
//! detector was busy with its content counts against that; two, and the next one is taken. What the slots on disk say comes first;
//! where the disk does not take a count it is kept here, so that a full disk makes no killer immortal.
//!
//! Other deaths (somebody killed it, the sensor's part failed) say nothing against the content: the detector is started again with the
//! same, later and later (`restarts`). Where that comes to its end and the content is not the factory's, it is stepped down from too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use watertight_policy::Policy;

use crate::loading::{compile, load_pack, Content, LoadError};
use crate::printable::printable;
use crate::publisher::plan::Standing;
use crate::publisher::word::Release;
use crate::publisher::Offer;
use crate::slots::{Choice, ContentId, Event, InForce, Slot, Slots, SlotsError, State, Tries, Watch};
use crate::worker::budget::OF_EVENTS;
use crate::worker::content::Header;
use crate::worker::correlation_loss::LIMITS;
use crate::worker::mapping::let_go_of_factory_pack;
use crate::worker::protocol::Given;

/// What correlations could not do, and how many events were over budget, in a run: see [`LIMITS`] and [`OF_EVENTS`].
pub type Limits = ([u64; LIMITS.len()], [u64; OF_EVENTS.len()]);

/// The content of this executable.
#[must_use]
pub fn factory() -> ContentId {
    ContentId::counted(watertight_rules::factory_id())
}

/// Content that a detector has, or is to get.
pub struct Active {
    /// `None` for rules that were compiled for this run alone.
    pub choice: Option<Choice>,
    /// `None` where events are only collected.
    pub content: Option<Content>,
    since: Instant,
    is_trusted: bool,
}

impl Active {
    fn new(choice: Option<Choice>, content: Option<Content>) -> Self {
        Self { choice, content, since: Instant::now(), is_trusted: false }
    }

    /// None at all.
    pub fn none() -> Self {
        Self::new(Some(Choice::CollectOnly), None)
    }

    /// The same, in force from now on.
    #[must_use]
    pub fn begun_now(self) -> Self {
        Self { since: Instant::now(), ..self }
    }

    /// How it is handed to a detector, by this descriptor.
    #[must_use]
    pub fn given(&self, fd: i32) -> Option<Given> {
        let Content { id, header, .. } = self.content.as_ref()?;
        Some(Given {
            fd,
            slot: self.slot().to_owned(),
            id: id.to_string(),
            word: id.word(),
            name: header.name.clone(),
            version: header.version,
            image_bytes: header.image_bytes,
            digest: header.digest.clone(),
            refused: header.refused.len(),
            replaced: header.replaced,
        })
    }

    /// For `status`, with what correlations could not do, and how many events were over budget.
    #[must_use]
    pub fn in_force(&self, (limits, over): Limits) -> InForce {
        let header = self.content.as_ref().map(|content| &content.header);
        InForce {
            run: std::process::id(),
            slot: self.slot().to_owned(),
            id: self.id().map(|id| id.to_string()),
            name: header.map(|header| header.name.clone()),
            version: header.map(|header| header.version),
            rules: header.map_or(0, |header| header.rule_count),
            rejected: header.map_or(0, |header| header.refused.len()),
            correlations: LIMITS.into_iter().map(str::to_owned).zip(limits).collect(),
            over_budget: OF_EVENTS.into_iter().map(str::to_owned).zip(over).collect(),
        }
    }

    /// What it says of what is denied, and how far it is trusted.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let Some(Content { id, header, .. }) = &self.content else { return Offer::default() };
        let standing = match self.choice {
            Some(Choice::Candidate(_)) if self.is_trusted => Standing::Trusted,
            Some(Choice::Candidate(_)) if header.is_urgent => Standing::Urgent,
            Some(Choice::Candidate(_)) => Standing::Trial,
            Some(Choice::Good(_)) => Standing::Trusted,
            Some(Choice::Factory(_)) if header.policy.is_some() => Standing::Trusted,
            Some(Choice::Factory(_) | Choice::CollectOnly) | None => Standing::Silent,
        };
        let (slot, id) = (self.slot().to_owned(), id.to_string());
        let release = Release { slot, name: header.name.clone(), version: header.version, id };
        let rules = header.policy.as_ref().map_or_else(Vec::new, |policy| policy.rules.clone());
        Offer { standing, rules, release: Some(release) }
    }

    /// Its slot, in words.
    #[must_use]
    pub fn slot(&self) -> &'static str {
        self.choice.map_or("local", |choice| choice.slot().name())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Option<ContentId> {
        self.content.as_ref().map(|content| content.id)
    }

    /// What it is called in the shared page; 0 where there is none.
    #[must_use]
    pub fn word(&self) -> u64 {
        self.id().map_or(0, |id| id.word())
    }

    /// For people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Some(Content { id, header, .. }) = &self.content else {
            return "collect-only: no rules are evaluated".to_owned();
        };
        let Header { name, version, rule_count, .. } = &**header;
        format!("{} {name} version {version} ({}, {rule_count} rules)", self.slot(), id.short())
    }
}

/// The ladder of one run.
pub struct Ladder {
    slots: Option<Slots>,
    watch: Option<Watch>,
    factory: ContentId,
    /// Out for the rest of this run, or until a person takes it out of the quarantine.
    struck: BTreeSet<ContentId>,
    /// Of these, what was seen in quarantine.
    quarantined: BTreeSet<ContentId>,
    /// Deaths in this run.
    deaths: BTreeMap<ContentId, u8>,
    trial: Duration,
    /// Content was given up in this run.
    has_stepped_down: bool,
}

impl Ladder {
    /// The ladder, and the content to begin with.
    ///
    /// # Errors
    /// Rules that were named can't be read or compiled.
    pub fn begin(folder: &Path, rules: &[PathBuf], trial: Duration) -> Result<(Self, Active)> {
        let factory = factory();
        let slots = open(folder, factory);
        // Without it new content is tried at the next start.
        let watch = slots.as_ref().and_then(|slots| slots.watch().ok());
        let (struck, quarantined, deaths) = Default::default();
        let mut ladder = Self { slots, watch, factory, struck, quarantined, deaths, trial, has_stepped_down: false };
        let active = if rules.is_empty() { ladder.settle() } else { Active::new(None, Some(compile(rules)?)) };
        Ok((ladder, active))
    }

    /// The next content that can be loaded.
    pub fn settle(&mut self) -> Active {
        loop {
            let choice = self.choose();
            match self.take(choice) {
                Ok(active) => return active,
                Err(why) => self.out(choice, why),
            }
        }
    }

    /// The content that is to take the place of this one because the folder has changed.
    pub fn look(&mut self, active: &Active) -> Option<Active> {
        if !self.watch.as_ref()?.has_changed() {
            return None;
        }
        let before = active.choice?;
        self.pardon();
        loop {
            // On its last try none is left to begin, and it is still the one on trial.
            let is_on_trial = before.slot() == Slot::Candidate && self.is_candidate(before.id());
            let choice = self.choose();
            if is_on_trial || choice.id() == before.id() {
                return None;
            }
            match self.take(choice) {
                Ok(active) => return Some(active),
                Err(why) => self.out(choice, why),
            }
        }
    }

    /// Content that was in quarantine and no longer is may be tried again in this run: `content forget` is a person's word. What of the struck
    /// is there now is remembered for the next look.
    fn pardon(&mut self) {
        let Some(Ok(state)) = self.slots.as_ref().map(Slots::state) else { return };
        for id in self.quarantined.difference(&state.quarantined) {
            self.struck.remove(id);
            self.deaths.remove(id);
        }
        self.quarantined = self.struck.intersection(&state.quarantined).copied().collect();
    }

    /// A detector died of this content. Returns what the next one gets.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn died(&mut self, active: Active, cause: &str) -> Result<Active> {
        let Some(id) = active.id() else { return Ok(active) };
        let deaths = self.deaths.entry(id).or_insert(0);
        *deaths = deaths.saturating_add(1);
        let is_out = *deaths >= Tries::fresh().left();
        if let Some(choice) = active.choice {
            self.note(Event::Died(choice, cause));
        }
        if is_out || self.is_quarantined(id) {
            return Ok(self.step_down(&active, cause));
        }
        self.again(active)
    }

    /// This content can't be used, or is not to be. Returns what takes its place.
    pub fn give_up(&mut self, active: &Active, cause: &str) -> Active {
        if let Some(choice) = active.choice {
            self.note(Event::Refused(choice, cause));
        }
        self.step_down(active, cause)
    }

    /// Whether a detector that dies of something else again and again may have that from this content.
    #[must_use]
    pub fn can_step_down(&self, active: &Active) -> bool {
        active.choice.is_none_or(|choice| choice.slot() < Slot::Factory)
    }

    /// The content has been in force for a while, and was asked about so many events. Returns whether it is trusted now and was not.
    pub fn lives(&mut self, active: &mut Active, events: u64) -> bool {
        let Some(choice) = active.choice.filter(|_| !active.is_trusted) else { return false };
        if events == 0 || active.since.elapsed() < self.trial {
            return false;
        }
        active.is_trusted = true;
        self.deaths.clear();
        let Some(state) = self.note(Event::Lived(choice)) else { return false };
        let was_candidate = choice.slot() == Slot::Candidate;
        if let (true, Some(held)) = (was_candidate, state.goods.last()) {
            active.choice = Some(Choice::Good(*held));
        }
        was_candidate
    }

    /// The run ends in good order: that says nothing against what is on trial.
    pub fn end(&mut self, active: &Active) {
        if let (Some(Choice::Candidate(held)), false) = (active.choice, active.is_trusted) {
            self.note(Event::Ended(held));
        }
    }

    /// The policy of the pack that lived through its trial last, as long as that is in its slot.
    #[must_use]
    pub fn trusted_policy(&self) -> Option<Policy> {
        let slots = self.slots.as_ref()?;
        let state = slots.state().ok()?;
        let held = state.goods.into_iter().rev().find(|held| !state.quarantined.contains(&held.id))?;
        load_pack(&slots.read(&Choice::Good(held)).ok()?, held.id).ok()?.header.policy.clone()
    }

    /// Whether content was given up in this run.
    #[must_use]
    pub fn has_stepped_down(&self) -> bool {
        self.has_stepped_down
    }

    fn step_down(&mut self, active: &Active, cause: &str) -> Active {
        self.has_stepped_down = true;
        self.struck.extend(active.id());
        self.pardon();
        let next = self.settle();
        say(&format!("{} is given up ({cause}); from here on: {}", active.in_words(), next.in_words()));
        next
    }

    /// The same content once more, which costs a candidate another try.
    fn again(&mut self, active: Active) -> Result<Active> {
        let Active { choice, content, .. } = active;
        let choice = match choice {
            Some(Choice::Candidate(_)) => match self.choose() {
                same @ Choice::Candidate(_) if same.id() == content.as_ref().map(|content| content.id) => {
                    Some(self.begun(same).context("counting a try")?)
                }
                _ => return Ok(self.settle()), // another one was installed meanwhile
            },
            Some(Choice::Good(_)) => Some(self.choose()), // its name has changed with its count
            other => other,
        };
        Ok(Active::new(choice, content))
    }

    fn choose(&self) -> Choice {
        let found = self.slots.as_ref().map(Slots::state);
        let state = match found {
            Some(Ok(state)) => state,
            Some(Err(error)) => {
                say(&format!("the factory content alone is used: {error}"));
                State { factory: self.factory, ..State::default() }
            }
            None => State { factory: self.factory, ..State::default() },
        };
        state.choose(&self.struck)
    }

    /// Makes a choice ready: its try is counted before anything of it is loaded.
    fn take(&mut self, choice: Choice) -> Result<Active, Unfit> {
        let choice = self.begun(choice).map_err(Unfit::here)?;
        let content = match choice {
            Choice::CollectOnly => return Ok(Active::new(Some(choice), None)),
            Choice::Factory(_) => {
                let content = load_pack(watertight_rules::factory_pack(), self.factory);
                let_go_of_factory_pack();
                content
            }
            Choice::Candidate(held) | Choice::Good(held) => {
                match self.slots.as_ref().map(|slots| slots.read(&choice)) {
                    Some(Ok(pack)) => load_pack(&pack, held.id),
                    Some(Err(error)) => {
                        let why = error.to_string();
                        let fault = match error {
                            SlotsError::Damaged { found, .. } => Fault::Bytes(choice, found),
                            _ => Fault::Hosts,
                        };
                        return Err(Unfit { fault, why });
                    }
                    None => Err(LoadError::Host("there is no folder of slots".into())),
                }
            }
        };
        match content {
            Ok(content) => Ok(Active::new(Some(choice), Some(content))),
            Err(LoadError::Refused(why) | LoadError::Fatal(why)) => Err(Unfit { fault: Fault::Its(choice), why }),
            Err(LoadError::Host(why)) => Err(Unfit { fault: Fault::Hosts, why }),
        }
    }

    /// The choice, its try counted.
    fn begun(&mut self, choice: Choice) -> Result<Choice, SlotsError> {
        let (Choice::Candidate(held), Some(slots)) = (choice, &mut self.slots) else { return Ok(choice) };
        let state = slots.after(Event::Begun(held))?;
        let held = state.candidates.into_iter().find(|now| now.id == held.id).unwrap_or(held);
        Ok(Choice::Candidate(held))
    }

    /// A choice that can't be made ready.
    fn out(&mut self, choice: Choice, Unfit { fault, why }: Unfit) {
        self.has_stepped_down = true;
        self.struck.extend(choice.id());
        let id = choice.id().map_or_else(String::new, |id| id.short());
        say(&format!("{} content {id} is not used: {why}", choice.slot().name()));
        let event = match fault {
            // It came with the executable, which works: once may be the machine's doing.
            Fault::Its(tried @ Choice::Factory(_)) => Event::Died(tried, &why),
            Fault::Its(tried) => Event::Refused(tried, &why),
            Fault::Bytes(tried, found) => Event::Damaged(tried, found, &why),
            Fault::Hosts => return,
        };
        self.note(event);
        self.pardon();
    }

    /// Whether this is the youngest candidate, and not in quarantine.
    fn is_candidate(&self, id: Option<ContentId>) -> bool {
        let Some(Ok(state)) = self.slots.as_ref().map(Slots::state) else { return false };
        let youngest = state.candidates.last().map(|held| held.id);
        youngest.is_some() && youngest == id && !youngest.is_some_and(|id| state.quarantined.contains(&id))
    }

    fn is_quarantined(&self, id: ContentId) -> bool {
        let state = self.slots.as_ref().and_then(|slots| slots.state().ok());
        state.is_some_and(|state| state.quarantined.contains(&id))
    }

    /// Leaves it on the disk; what that does not take is said.
    fn note(&mut self, event: Event<'_>) -> Option<State> {
        match self.slots.as_mut()?.after(event) {
            Ok(state) => Some(state),
            Err(error) => {
                say(&format!("what became of the content could not be noted: {error}"));
                None
            }
        }
    }
}

/// The slots, tidied up. Where the disk does not take that (it is full, or read-only), what can be read of them is used as it is: content
/// that is known to live is not given up for want of room.
fn open(folder: &Path, factory: ContentId) -> Option<Slots> {
    let opened = Slots::make(folder, factory).and_then(|mut slots| match slots.after(Event::Start) {
        Err(error) if slots.state().is_ok() => {
            say(&format!("the slots are used as they are, what is left over in them stays: {error}"));
            Ok(slots)
        }
        started => started.map(|_| slots),
    });
    opened.map_err(|error| say(&format!("the factory content alone is used: {error}"))).ok()
}

/// Why content is not used.
struct Unfit {
    fault: Fault,
    why: String,
}

/// Whose fault that is.
enum Fault {
    /// The content's own: it is to be put into quarantine.
    Its(Choice),
    /// Other bytes, of this id, lie where the content should.
    Bytes(Choice, ContentId),
    /// This machine's: it says nothing about the content.
    Hosts,
}

impl Unfit {
    fn here(error: SlotsError) -> Self {
        Self { fault: Fault::Hosts, why: format!("its try can't be counted: {error}") }
    }
}

fn say(words: &str) {
    crate::say!("watertight: {}", printable(words));
}
