//! Why a correlation fired, or what stood in its way: from the same image, by the slow sibling of what judges it (`slow`).
//!
//! Values are told as events have them. What is kept is the end of the story: the last steps, and what is still under way.

use std::collections::HashMap;

use super::front::Front;
use super::key::{Digest, HashKey};
use super::machine::Shape;
use super::slow::Slow;
use super::{CorrelationLimits, Moment, Occurrence, PARTS};
use crate::image::layout::{CORRELATE_COUNT, CORRELATE_VALUES, FLAG_ABOVE, FLAG_BELOW, NONE};
use crate::image::{at, slice, Image};
use crate::Fields;

/// Most values that are kept as text; of others an explanation says that they are another.
const TEXTS_MAX: usize = 100_000;

/// Most hits that are kept.
const TOLD_MAX: usize = 16;

/// Most of what is under way that is told.
const UNDER_WAY_MAX: usize = 8;

/// What was made of a hit.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The correlation fired with it.
    Fired {
        /// What was counted.
        count: u64,
    },
    /// The window that ends with it comes to this, which does not fire.
    Measures {
        /// As the condition counts.
        measured: f64,
        /// Hits in the window.
        events: usize,
    },
    /// It is judged when this time is over.
    WaitsUntil {
        /// When.
        time_ns: u64,
    },
    /// The time was over, and it came to this.
    Over {
        /// As the condition counts.
        measured: f64,
        /// Hits in the window.
        events: usize,
        /// Whether that fires.
        fires: bool,
    },
    /// These inputs had to have happened and had not, and these had to stay away and had not; a bit for each.
    Lacking {
        /// That had to happen.
        missing: u32,
        /// That had to stay away.
        unwanted: u32,
    },
    /// A sequence has come to this stage.
    Reached {
        /// Its first stage.
        began: Moment,
    },
    /// The last stage is waited for already, from a beginning before.
    AlreadyWaits,
    /// No sequence had come to the stage before with these values.
    NothingBefore {
        /// The last hit of that stage, of whatever values.
        elsewhere: Option<Moment>,
    },
    /// There was one, and it began too long before.
    TooLate {
        /// Its first stage.
        began: Moment,
        /// By how much.
        by_ns: u64,
    },
    /// The stage before was this very event.
    SameEvent,
    /// A value is that of the stage before, and had to differ.
    NotDifferent {
        /// The sequence's first stage.
        began: Moment,
    },
    /// It had to stay away, and did not.
    CalledOff {
        /// The sequence's first stage.
        began: Moment,
    },
    /// The event lacks a field.
    Lacks {
        /// Its name.
        field: String,
    },
}

/// A hit, and what was made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The stage, from 0.
    pub stage: u32,
    /// Which event.
    pub moment: Moment,
    /// What was made of it.
    pub verdict: Verdict,
    pub(super) parts: [Digest; PARTS],
}

/// A correlation that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub moment: Moment,
    /// It fired because a time was over.
    pub is_by_clock: bool,
    /// What was counted.
    pub count: u64,
    /// What led to it.
    pub events: Vec<Occurrence>,
}

/// What an input had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSeen {
    /// What people call it.
    pub name: String,
    /// The position of its rule.
    pub rule: u32,
    /// How often that fired.
    pub hits: u64,
    /// How many of these lack a field that they are grouped by or measured in.
    pub lacking: u64,
}

/// What has begun and may still come to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Fields and their values.
    pub group: Vec<(String, String)>,
    /// Of a sequence: the stage that it has come to.
    pub reached: Option<u32>,
    /// Its first event.
    pub since: Moment,
    /// How long it may still take.
    pub until_ns: u64,
    /// Hits so far.
    pub events: usize,
}

/// Why a correlation fired, or why it did not.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelationAccount {
    /// How often it fired.
    pub fired: u64,
    /// The first times.
    pub told: Vec<Told>,
    /// What the condition asks for, where it has one: `>= 10`.
    pub wanted: Option<String>,
    /// How long its events may lie apart.
    pub timespan_ns: u64,
    /// Its inputs, of a sequence in the order of its stages.
    pub inputs: Vec<InputSeen>,
    /// The last hits of its inputs with their fields and values, and what was made of each.
    pub steps: Vec<(Step, Vec<(String, String)>)>,
    /// What is still under way.
    pub under_way: Vec<UnderWay>,
    /// What could not be kept in order.
    pub limits: CorrelationLimits,
}

/// Explains one correlation: it is given what every rule finds, as the engine's own state is.
#[derive(Debug)]
pub struct CorrelationExplainer<'i> {
    image: Image<'i>,
    front: Front<'i, Slow>,
    rule: u32,
    judge: usize,
    texts: HashMap<Digest, String>,
    told: Vec<Told>,
    fired: u64,
}

impl<'i> Image<'i> {
    /// Explains the correlation whose rule is at this position; `None` where it is none.
    #[must_use]
    pub fn correlation_explainer(&self, rule: u32, key: HashKey) -> Option<CorrelationExplainer<'i>> {
        let (judge, _) = self.correlation_of(rule)?;
        let (texts, told) = (HashMap::new(), Vec::new());
        Some(CorrelationExplainer {
            image: *self,
            front: Front::new(*self, key, usize::MAX),
            rule,
            judge,
            texts,
            told,
            fired: 0,
        })
    }
}

impl CorrelationExplainer<'_> {
    /// A rule has fired on an event.
    pub fn on_hit(&mut self, rule: u32, event: &dyn Fields, moment: Moment) {
        let Self { front, texts, told, fired, rule: own, .. } = self;
        front.texts(rule, event, &mut |digest, text| {
            if texts.len() < TEXTS_MAX {
                texts.entry(digest).or_insert_with(|| text.to_owned());
            }
        });
        front.on_hit(rule, event, moment, &mut |hit| note(*own, &hit, told, fired));
    }

    /// Everything up to this time has been read.
    pub fn advance(&mut self, now_ns: u64) {
        let Self { front, told, fired, rule: own, .. } = self;
        front.advance(now_ns, &mut |hit| note(*own, &hit, told, fired));
    }

    /// What became of it so far.
    #[must_use]
    pub fn account(&self) -> Option<CorrelationAccount> {
        let slow = self.front.judges.get(self.judge)?;
        let correlation = self.image.correlations.get(self.judge)?;
        let records = slice(self.image.inputs, correlation.inputs);
        let inputs = records.iter().zip(&slow.notes.seen).map(|(record, (hits, lacking))| InputSeen {
            name: self.image.text(record.name).to_owned(),
            rule: record.rule.get(),
            hits: *hits,
            lacking: *lacking,
        });
        let steps = slow.notes.steps.iter();
        let under_way = slow.under_way().into_iter().rev().take(UNDER_WAY_MAX).map(|open| UnderWay {
            group: self.group(open.reached.unwrap_or(0), &open.parts),
            reached: open.reached,
            since: open.since,
            until_ns: open.until_ns,
            events: open.hits,
        });
        Some(CorrelationAccount {
            fired: self.fired,
            told: self.told.clone(),
            wanted: wanted(&slow.shape),
            timespan_ns: slow.shape.timespan_ns,
            inputs: inputs.collect(),
            steps: steps.map(|step| (step.clone(), self.group(step.stage, &step.parts))).collect(),
            under_way: under_way.collect(),
            limits: self.front.limits,
        })
    }

    /// The parts that a stage gives, by the names of its fields.
    fn group(&self, stage: u32, parts: &[Digest; PARTS]) -> Vec<(String, String)> {
        let correlation = self.image.correlations.get(self.judge);
        let record = correlation.and_then(|own| at(slice(self.image.inputs, own.inputs), stage));
        let Some(record) = record else { return Vec::new() };
        let sources = self.image.words_of(record.parts).iter().zip(parts);
        let told = sources.filter(|(source, digest)| source.get() != NONE && **digest != 0);
        told.map(|(source, digest)| {
            let name = self.name_of(record.rule.get(), source.get());
            (name, self.texts.get(digest).cloned().unwrap_or_else(|| "(a value not kept)".to_owned()))
        })
        .collect()
    }

    /// The field that a source means: of a correlation that is listened to, the one that its first input has.
    fn name_of(&self, mut rule: u32, mut source: u32) -> String {
        while let Some((_, inner)) = self.image.correlation_of(rule) {
            let Some(first) = slice(self.image.inputs, inner.inputs).first() else { break };
            let Some(next) = at(self.image.words_of(first.parts), source) else { break };
            // What it listens to lies before it, so this ends.
            (rule, source) = (first.rule.get(), next.get());
        }
        at(self.image.fields, source).map_or(String::new(), |field| self.image.text(field.name).to_owned())
    }
}

fn note(rule: u32, hit: &super::Correlated<'_>, told: &mut Vec<Told>, fired: &mut u64) {
    if hit.rule != rule {
        return;
    }
    *fired = fired.saturating_add(1);
    if told.len() < TOLD_MAX {
        let super::Correlated { moment, is_by_clock, count, events, .. } = *hit;
        told.push(Told { moment, is_by_clock, count, events: events.to_vec() });
    }
}

/// The bounds for people.
#[allow(clippy::cast_precision_loss)] // for people
fn wanted(shape: &Shape) -> Option<String> {
    let number = |bound: i64| match shape.kind {
        CORRELATE_COUNT | CORRELATE_VALUES => bound.to_string(),
        _ => (bound as f64 / 1000.0).to_string(),
    };
    if shape.least == shape.most {
        return Some(format!("= {}", number(shape.least)));
    }
    let above = if shape.flags & FLAG_ABOVE != 0 { ">" } else { ">=" };
    let below = if shape.flags & FLAG_BELOW != 0 { "<" } else { "<=" };
    let least = (shape.least != i64::MIN).then(|| format!("{above} {}", number(shape.least)));
    let most = (shape.most != i64::MAX).then(|| format!("{below} {}", number(shape.most)));
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} and {most}")),
        (one, other) => one.or(other),
    }
}
