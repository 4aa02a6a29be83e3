//! The canaries, run in the engine that will run the rules: what must fire fires, what must not does not.
//!
//! Ordered maps, not hashed ones: those ask the kernel for random numbers, which the sandbox that runs this need not allow.

use std::collections::{BTreeMap, BTreeSet};

use watertight_engine::{Correlator, HashKey, LogSource, Moment, Plan, Scratch};

use crate::canary::Told;
use crate::error::PackError;
use crate::open::Pack;

/// Most log sources whose plans are kept. Sensors have some dozens; a pack may invent one per event.
const PLANS_MAX: usize = 256;

/// Canaries are nobody's to choose on the host: their digests are the same in every run.
const CANARY_KEY: HashKey = HashKey([0x6361_6e61_7269_6573, 0x7369_6e67]);

/// When a canary begins: not at 0, which is no time.
const BEGIN_NS: u64 = 1_000_000_000;

const MS_NS: u64 = 1_000_000;

/// What the canaries have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// How many canaries ran.
    pub canaries: u64,
    /// Events in them.
    pub events: u64,
    /// Expectations that something fires, each of them met.
    pub fired: u64,
    /// Expectations that something does not, each of them met.
    pub silent: u64,
    /// Documents that something must fire.
    pub proven: u64,
}

impl Pack<'_> {
    /// Runs every canary.
    ///
    /// # Errors
    /// One came out otherwise than it must, or costs more than an event may; or there are rules and none must fire at all.
    pub fn self_test(&self) -> Result<SelfTest, PackError> {
        let mut test = SelfTest::default();
        let mut proven = BTreeSet::new();
        let mut runner = Runner { pack: self, plans: BTreeMap::new(), scratch: Scratch::new() };
        for canary in self.canaries.iter() {
            let fired = runner.run(&canary, &mut test)?;
            let (name, id) = (|| canary.name().to_owned(), |position| self.id_and_place_of(position));
            for position in canary.fires() {
                if !fired.contains(&position) {
                    return Err(PackError::DidNotFire { canary: name(), rule: id(position) });
                }
                proven.insert(position);
                test.fired = test.fired.saturating_add(1);
            }
            for position in canary.silent() {
                if fired.contains(&position) {
                    return Err(PackError::Fired { canary: name(), rule: id(position) });
                }
                test.silent = test.silent.saturating_add(1);
            }
            test.canaries = test.canaries.saturating_add(1);
        }
        test.proven = proven.len() as u64;
        match proven.is_empty() && self.manifest().rule_count > 0 {
            true => Err(PackError::NothingProven),
            false => Ok(test),
        }
    }
}

impl Pack<'_> {
    /// What a document is called, and where it was written if it is a rule.
    fn id_and_place_of(&self, position: u32) -> String {
        let id = self.id_of(position);
        let rule = self.rules().rules().find(|rule| rule.id() == id);
        rule.map_or_else(|| id.clone(), |rule| format!("{id} ({}:{})", rule.place().0, rule.place().1))
    }
}

struct Runner<'r, 'p> {
    pack: &'r Pack<'p>,
    plans: BTreeMap<LogSource<'p>, Plan<'p>>,
    scratch: Scratch,
}

impl<'p> Runner<'_, 'p> {
    /// The positions of the documents that fire on some event of the canary.
    fn run(&mut self, canary: &Told<'p>, test: &mut SelfTest) -> Result<BTreeSet<u32>, PackError> {
        let image = self.pack.rules();
        let (mut fired, mut found) = (BTreeSet::new(), Vec::new());
        let note = |fired: &mut BTreeSet<u32>, rule: u32| {
            let id = image.rule(rule).map(|rule| rule.id());
            fired.extend(id.and_then(|id| self.pack.listed.position(id)));
        };
        // Each canary begins with nothing in the state of correlations. That may be large, more than whoever tries a pack may take,
        // and few canaries concern it: no more is reserved than this one can fill.
        let events_max = canary.events().count();
        let mut correlator: Option<Correlator<'_>> = None;
        for (number, event) in (0_u64..).zip(canary.events()) {
            let logsource = event.logsource();
            if self.plans.len() >= PLANS_MAX && !self.plans.contains_key(&logsource) {
                self.plans.clear();
            }
            let plan = self.plans.entry(logsource).or_insert_with_key(|logsource| image.plan(logsource));
            found.clear();
            let limits = plan.evaluate(&event, &mut self.scratch, &mut |rule| found.push(rule));
            let moment = Moment { time_ns: BEGIN_NS.saturating_add(event.at_ms().saturating_mul(MS_NS)), number };
            for rule in &found {
                if image.is_listened_to(*rule) {
                    let correlator = correlator.get_or_insert_with(|| image.correlator_for(CANARY_KEY, events_max));
                    correlator.on_hit(*rule, &event, moment, &mut |hit| note(&mut fired, hit.rule));
                }
                if !image.is_silenced(*rule) {
                    note(&mut fired, *rule);
                }
            }
            if let Some(correlator) = &mut correlator {
                correlator.advance(moment.time_ns, &mut |hit| note(&mut fired, hit.rule));
            }
            if limits.undecided_rules > 0 {
                let (canary, rules) = (canary.name().to_owned(), limits.undecided_rules);
                return Err(PackError::Undecided { canary, rules });
            }
            test.events = test.events.saturating_add(1);
        }
        Ok(fired)
    }
}
