//! A rollout as the server holds it: where it stands, its place in its journal, its clock, and its hosts.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watertight_fleet::gate::{Cause, Decision, Verdict};
use watertight_fleet::plan::HostId;
use watertight_fleet::rollout::{Input, Running, Spec};
use watertight_fleet::{HostIndex, Ms};

use super::evidence::{self, Names};
use crate::hosts::{HostCell, Hosts};
use crate::store::{DecisionRow, JournalRow, RolloutRow, StoreError};

/// The rollout's clock goes on by at most this between two looks: time in which the server was away, or by which its clock was set
/// forward, is no time in which hosts were watched.
const STEP_MS_MAX: Ms = 5_000;
/// The clock is stored so often, though nothing happens.
const STORED_EVERY_MS: Ms = 10_000;

/// An entry of the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The rollout's clock.
    pub(super) at_ms: Ms,
    /// Evidence up to this number was heard.
    pub(super) heard: u64,
    /// Hosts that came after the plan, with their buckets: they are numbered after those that are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) joined: Vec<(u32, HostId)>,
    /// What moved it.
    pub(super) inputs: Vec<Input>,
    /// Who, and why, where it was a person or the policy of a ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) word: Option<String>,
}

/// A rollout.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) number: u64,
    pub(super) started_ms: u64,
    pub(super) running: Running,
    /// What a person said last.
    pub(super) word: Option<String>,
    /// Why the policy of a ring stops it, while one does.
    pub(super) closed: Option<String>,
    /// Why the gate decided last what it decided, as it was stored: the gate itself knows no bucket's name.
    why: Option<String>,
    /// Names of the buckets of what was heard and is not taken in yet.
    pub(super) names: Names,
    pub(super) heard: u64,
    /// When hosts were looked at.
    pub(super) seen_ms: u64,
    next: u64,
    clock_ms: Ms,
    stored_ms: Ms,
    looked_ms: Option<u64>,
    cells: Vec<Option<Arc<HostCell>>>,
    index: HashMap<String, HostIndex>,
    /// Hosts that joined and are not stored yet.
    joined: Vec<(u32, HostId)>,
}

impl Live {
    /// Reads a rollout, all that moved it, and what was decided last.
    pub(super) fn read(
        row: &RolloutRow,
        journal: &[JournalRow],
        decided: Option<&DecisionRow>,
        hosts: &Hosts,
    ) -> Result<Self, StoreError> {
        let damaged =
            |error: serde_json::Error| StoreError::Damaged { why: format!("rollout r{}: {error}", row.number) };
        let spec: Spec = serde_json::from_str(&row.spec).map_err(damaged)?;
        let cells = spec.ids().map(|id| hosts.get(&id.0)).collect();
        let index = spec.ids().map(|id| id.0.clone()).zip(0..).collect();
        let mut live = Self {
            number: row.number,
            started_ms: row.started_ms,
            running: Running::new(spec),
            word: None,
            closed: None,
            why: decided.map(|row| why_of(row).map_err(damaged)).transpose()?,
            names: Names::new(),
            heard: 0,
            seen_ms: 0,
            next: 0,
            clock_ms: row.started_ms,
            stored_ms: 0,
            looked_ms: None,
            cells,
            index,
            joined: Vec::new(),
        };
        for row in journal {
            let entry: Entry = serde_json::from_str(&row.entry).map_err(damaged)?;
            for (bucket, id) in &entry.joined {
                live.number_next(*bucket, id, hosts.get(&id.0));
            }
            live.take(&entry);
            live.next = row.number.saturating_add(1);
        }
        Ok(live)
    }

    /// Lets the clock go on to this moment of the server's.
    pub(super) fn look(&mut self, now_ms: u64) {
        let step_ms = self.looked_ms.map_or(0, |looked_ms| now_ms.saturating_sub(looked_ms)).min(STEP_MS_MAX);
        self.looked_ms = Some(now_ms);
        self.clock_ms = self.clock_ms.saturating_add(step_ms);
    }

    /// The rollout's clock.
    pub(super) fn clock_ms(&self) -> Ms {
        self.clock_ms
    }

    /// A moment of the server's on the rollout's clock.
    pub(super) fn on_clock(&self, at_ms: u64) -> Ms {
        let ago_ms = self.looked_ms.unwrap_or(at_ms).saturating_sub(at_ms);
        self.clock_ms.saturating_sub(ago_ms)
    }

    /// Whether the clock is to be stored, though nothing happened.
    pub(super) fn is_to_store(&self) -> bool {
        self.clock_ms.saturating_sub(self.stored_ms) >= STORED_EVERY_MS
    }

    /// The entry that these inputs make, with the hosts that joined before them.
    pub(super) fn entry(&mut self, inputs: Vec<Input>, word: Option<String>) -> Entry {
        Entry { at_ms: self.clock_ms, heard: self.heard, joined: std::mem::take(&mut self.joined), inputs, word }
    }

    /// Takes in a host that came after the plan. It is stored with the next entry.
    pub(super) fn join(&mut self, bucket: u32, id: HostId, cell: Arc<HostCell>) {
        self.number_next(bucket, &id, Some(cell));
        self.joined.push((bucket, id));
    }

    /// Whether a host came after the plan.
    pub(super) fn has_come_late(&self, host: &str) -> bool {
        self.index(host).is_some_and(|number| number >= self.running.spec().hosts())
    }

    /// Whether hosts have joined that are to be stored.
    pub(super) fn has_joined(&self) -> bool {
        !self.joined.is_empty()
    }

    fn number_next(&mut self, bucket: u32, id: &HostId, cell: Option<Arc<HostCell>>) {
        let number = self.running.join(bucket, id.clone());
        self.index.insert(id.0.clone(), number);
        self.cells.push(cell);
    }

    /// Takes an entry in; gives what was decided.
    pub(super) fn take(&mut self, entry: &Entry) -> Vec<Decision> {
        self.clock_ms = self.clock_ms.max(entry.at_ms);
        self.stored_ms = self.clock_ms;
        self.heard = self.heard.max(entry.heard);
        match (entry.inputs.as_slice(), &entry.word) {
            ([Input::Close], word) => self.closed.clone_from(word),
            ([Input::Reopen], _) => self.closed = None,
            (_, Some(word)) => self.word = Some(word.clone()),
            (_, None) => {}
        }
        entry.inputs.iter().filter_map(|input| self.running.take(entry.at_ms, *input)).collect()
    }

    /// Takes an entry in, and gives the rows by which it is stored.
    pub(super) fn move_on(
        &mut self,
        entry: &Entry,
        now_ms: u64,
    ) -> Result<(JournalRow, Vec<DecisionRow>, Vec<Decision>), StoreError> {
        let text = |error: serde_json::Error| StoreError::Failed { why: error.to_string() };
        let names = std::mem::take(&mut self.names);
        let decisions: Vec<Decision> =
            self.take(entry).into_iter().map(|decision| evidence::name(by_word(decision, entry), &names)).collect();
        if let Some(last) = decisions.last() {
            self.why = Some(last.why.clone());
        }
        let row = JournalRow { number: self.next, entry: serde_json::to_string(entry).map_err(text)? };
        self.next = self.next.saturating_add(1);
        let told = |decision: &Decision| evidence::told(decision, &names).map(|told| told.to_string()).map_err(text);
        let rows = decisions
            .iter()
            .map(|decision| Ok(DecisionRow { at_ms: now_ms, decision: told(decision)? }))
            .collect::<Result<_, StoreError>>()?;
        Ok((row, rows, decisions))
    }

    /// Why the gate decided last what it decided, in the words that were stored.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// The hosts by number.
    pub(super) fn cells(&self) -> impl Iterator<Item = (HostIndex, Option<&Arc<HostCell>>)> {
        (0..).zip(self.cells.iter().map(Option::as_ref))
    }

    /// A host's number.
    pub(super) fn index(&self, host: &str) -> Option<HostIndex> {
        self.index.get(host).copied()
    }

    /// As people call it.
    pub(super) fn id(&self) -> String {
        id(self.number)
    }
}

/// Says in a decision's sentence by whose word it is, where it is by a word.
fn by_word(decision: Decision, entry: &Entry) -> Decision {
    match (&decision.verdict, &entry.word) {
        (Verdict::Halt { cause: Cause::Operator }, Some(word)) => {
            let why = format!("stopped in stage {} by {word}", decision.stage);
            Decision { why, ..decision }
        }
        _ => decision,
    }
}

/// The sentence of a stored decision.
fn why_of(row: &DecisionRow) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Told {
        why: String,
    }
    serde_json::from_str::<Told>(&row.decision).map(|told| told.why)
}

/// A rollout's id.
pub(super) fn id(number: u64) -> String {
    format!("r{number}")
}

#[cfg(test)]
mod tests {
    use watertight_fleet::gate::Rules;
    use watertight_fleet::plan::{Lane, Policy, Schedule, Traits};
    use watertight_fleet::rollout::{Kin, Start, State};
    use watertight_fleet_wire::records::{Body, Crash, Record};

    use super::*;

    /// A rollout to so many hosts, begun.
    fn begun(hosts: u32) -> (RolloutRow, Vec<JournalRow>, Live) {
        let any = || "any".to_owned();
        let traits =
            Traits { kernel: any(), distribution: any(), architecture: any(), agent_version: any(), workload: any() };
        let id = |number| (number, HostId(format!("h{number}")));
        let (name, ring) = ("early-any".to_owned(), "early".to_owned());
        let kin = Kin { name, ring, schedule: Schedule::open(), traits, hosts: (0..hosts).map(id).collect() };
        let start = Start {
            content: "c".repeat(64),
            name: "linux".into(),
            version: 1,
            policy: Policy::of(Lane::STANDARD),
            rules: Rules::default(),
            evidence: watertight_fleet::plan::Evidence::default(),
            known: Vec::new(),
            goes_on: false,
        };
        let spec = Spec::plan(start, vec![kin]).expect("a plan");
        let row = RolloutRow { number: 1, started_ms: 5, spec: serde_json::to_string(&spec).expect("JSON") };
        let mut live = Live::read(&row, &[], None, &Hosts::default()).expect("a rollout");
        let entry = live.entry(vec![Input::Start], None);
        let (first, ..) = live.move_on(&entry, 5).expect("begun");
        (row, vec![first], live)
    }

    /// A crash of a host's with the content, as it is heard.
    fn hear(live: &mut Live, host: &str) -> Vec<Input> {
        let crash = Crash {
            bucket: "ruin-7f3a".into(),
            title: "engine: index out of range".into(),
            is_ours: true,
            content: "c".repeat(64),
            ..Crash::default()
        };
        let record = Record { sequence: 1, at_ms: 1, body: Some(Body::Crash(crash)) };
        let mut inputs = Vec::new();
        evidence::note(&record, &mut live.names);
        evidence::inputs(&live.running, live.index(host), &record, &mut inputs);
        inputs
    }

    #[test]
    fn a_halt_by_a_new_bucket_names_it_as_people_find_it_also_after_a_restart() {
        let (row, mut journal, mut live) = begun(20);
        let mut decided = Vec::new();
        for host in ["h0", "h1"] {
            let inputs = hear(&mut live, host);
            let entry = live.entry(inputs, None);
            let (entry, rows, decisions) = live.move_on(&entry, 7).expect("moved");
            assert!(decisions.iter().all(|decision| rows[0].decision.contains(&decision.why)), "{rows:?}");
            journal.push(entry);
            decided.extend(rows);
        }
        assert_eq!(live.running.state(), State::Halted);
        let words = "bucket ruin-7f3a (engine: index out of range)";
        assert!(live.why().is_some_and(|why| why.ends_with(words)), "{:?}", live.why());
        let stored: serde_json::Value = serde_json::from_str(&decided[0].decision).expect("JSON");
        assert_eq!(stored["evidence"]["bucket"], "ruin-7f3a", "{stored}");
        assert_eq!(stored["evidence"]["bucket_title"], "engine: index out of range", "{stored}");
        let again = Live::read(&row, &journal, decided.last(), &Hosts::default()).expect("the rollout");
        assert_eq!((again.running.state(), again.why()), (State::Halted, live.why()));
    }
}
