//! A rollout as the server holds it: where it stands, its place in its journal, its clock, and its hosts.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watertight_fleet::gate::Decision;
use watertight_fleet::rollout::{Input, Running, Spec};
use watertight_fleet::{HostIndex, Ms};

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
    /// What moved it.
    pub(super) inputs: Vec<Input>,
    /// Who, and why, where it was a person.
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
    pub(super) heard: u64,
    next: u64,
    clock_ms: Ms,
    stored_ms: Ms,
    looked_ms: Option<u64>,
    cells: Vec<Option<Arc<HostCell>>>,
    index: HashMap<String, HostIndex>,
}

impl Live {
    /// Reads a rollout and all that moved it.
    pub(super) fn read(row: &RolloutRow, journal: &[JournalRow], hosts: &Hosts) -> Result<Self, StoreError> {
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
            heard: 0,
            next: 0,
            clock_ms: row.started_ms,
            stored_ms: 0,
            looked_ms: None,
            cells,
            index,
        };
        for row in journal {
            let entry: Entry = serde_json::from_str(&row.entry).map_err(damaged)?;
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

    /// The entry that these inputs make.
    pub(super) fn entry(&self, inputs: Vec<Input>, word: Option<String>) -> Entry {
        Entry { at_ms: self.clock_ms, heard: self.heard, inputs, word }
    }

    /// Takes an entry in; gives what was decided.
    pub(super) fn take(&mut self, entry: &Entry) -> Vec<Decision> {
        self.clock_ms = self.clock_ms.max(entry.at_ms);
        self.stored_ms = self.clock_ms;
        self.heard = self.heard.max(entry.heard);
        if entry.word.is_some() {
            self.word.clone_from(&entry.word);
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
        let decisions = self.take(entry);
        let row = JournalRow { number: self.next, entry: serde_json::to_string(entry).map_err(text)? };
        self.next = self.next.saturating_add(1);
        let rows = decisions
            .iter()
            .map(|decision| Ok(DecisionRow { at_ms: now_ms, decision: serde_json::to_string(decision).map_err(text)? }))
            .collect::<Result<_, StoreError>>()?;
        Ok((row, rows, decisions))
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

/// A rollout's id.
pub(super) fn id(number: u64) -> String {
    format!("r{number}")
}
