//! Rules over recorded events, one JSON object a line: what `watertight detect` does between its files.

use std::collections::HashMap;

use serde_json::Value as Json;
use watertight_engine::{Explanation, Image, Plan, Scratch, Tally};

use super::event::{JsonEvent, Slots};
use crate::rule::LogSource;

/// Most log sources whose plans are kept. Real sensors have some dozens; a file may invent one per line.
const PLANS_MAX: usize = 256;

/// Evaluates rules over events given as text.
#[derive(Debug)]
pub struct Detector<'i> {
    image: Image<'i>,
    slots: Slots,
    plans: HashMap<LogSource, Plan<'i>>,
    scratch: Scratch,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The rule's id.
    pub rule: String,
    /// Why, when it was asked for.
    pub explanation: Option<Explanation>,
}

/// Why a line is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not JSON.
    #[error("this is not JSON ({what}): write one object a line")]
    NotJson {
        /// What the parser said.
        what: String,
    },
    /// A part is missing or of the wrong kind.
    #[error("{part} is not {wanted}: expected {{\"logsource\":{{\"category\":...}},\"event\":{{...}}}}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
}

impl<'i> Detector<'i> {
    /// The rules of an image, ready for events.
    #[must_use]
    pub fn new(image: Image<'i>) -> Self {
        Self { image, slots: Slots::of(&image), plans: HashMap::new(), scratch: Scratch::new() }
    }

    /// The same, and it counts what each rule costs.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { scratch: Scratch::counting(), ..self }
    }

    /// What the rules have cost, if that is counted.
    #[must_use]
    pub fn tally(&self) -> Option<&Tally> {
        self.scratch.tally()
    }

    /// The rules that fire on the event in this line, by id; with reasons if `explains`.
    ///
    /// # Errors
    /// When the line is not an event.
    pub fn line(&mut self, line: &str, explains: bool) -> Result<Vec<Hit>, LineError> {
        self.parsed(&parse(line)?, explains)
    }

    /// The same for a line that was parsed already.
    ///
    /// # Errors
    /// When it is not an event.
    pub fn parsed(&mut self, json: &Json, explains: bool) -> Result<Vec<Hit>, LineError> {
        let (logsource, event) = parts(json)?;
        Ok(self.event(logsource, event, explains))
    }

    /// Why the rule at this position fires on an event, or why not; `None` when it is for another log source.
    ///
    /// # Errors
    /// When the line is not an event.
    pub fn explain(&mut self, json: &Json, position: u32) -> Result<Option<Explanation>, LineError> {
        let (logsource, event) = parts(json)?;
        let event = JsonEvent::new(event, &self.slots);
        Ok(self.image.plan(&logsource.lend()).explain(position, &event, &mut self.scratch))
    }

    /// The rules that fire on an event, by id.
    pub fn event(&mut self, logsource: LogSource, event: &Json, explains: bool) -> Vec<Hit> {
        let event = JsonEvent::new(event, &self.slots);
        if self.plans.len() >= PLANS_MAX && !self.plans.contains_key(&logsource) {
            self.plans.clear();
        }
        let image = &self.image;
        let plan = self.plans.entry(logsource).or_insert_with_key(|logsource| image.plan(&logsource.lend()));
        let mut positions = Vec::new();
        plan.evaluate(&event, &mut self.scratch, &mut |position| positions.push(position));
        let mut hits = Vec::new();
        for position in positions {
            let explanation = if explains { plan.explain(position, &event, &mut self.scratch) } else { None };
            hits.extend(image.rule(position).map(|rule| Hit { rule: rule.id().to_owned(), explanation }));
        }
        hits.sort_by(|left, right| left.rule.cmp(&right.rule));
        hits
    }
}

/// The log source and the event of a line.
fn parts(json: &Json) -> Result<(LogSource, &Json), LineError> {
    let logsource = logsource(json.get("logsource"))?;
    let event = json.get("event").filter(|event| event.is_object());
    Ok((logsource, event.ok_or(LineError::Malformed { part: "event", wanted: "an object" })?))
}

/// A line as JSON.
///
/// # Errors
/// When it is not.
pub fn parse(line: &str) -> Result<Json, LineError> {
    serde_json::from_str(line).map_err(|error| LineError::NotJson { what: error.to_string() })
}

fn logsource(json: Option<&Json>) -> Result<LogSource, LineError> {
    let wrong = LineError::Malformed { part: "logsource", wanted: "an object of texts" };
    let Some(Json::Object(entries)) = json else { return Err(wrong) };
    let part = |name: &str| match entries.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong.clone()),
    };
    Ok(LogSource { category: part("category")?, product: part("product")?, service: part("service")? })
}
