//! Rules over recorded events, one JSON object a line: what `watertight detect` does between its files.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;
use watertight_engine::{
    Correlated, CorrelationAccount, CorrelationExplainer, Correlator, Explanation, HashKey, Image, Limits, Moment,
    Plan, Scratch, Tally,
};

use super::event::{JsonEvent, Slots};
use super::moment::time_ns;
use crate::rule::LogSource;

/// Most log sources whose plans are kept. Real sensors have some dozens; a file may invent one per line.
const PLANS_MAX: usize = 256;

/// Digests are the same in every run: events that are on record are nobody's to choose any more.
pub const RECORDED_KEY: HashKey = HashKey([0x7761_7465_7274_6967, 0x6874_2072_756c_6573]);

/// Evaluates rules over events given as text.
#[derive(Debug)]
pub struct Detector<'i> {
    image: Image<'i>,
    slots: Slots,
    plans: HashMap<LogSource, Plan<'i>>,
    scratch: Scratch,
    correlator: Correlator<'i>,
    /// How much later than others an event may come and still be judged in its order.
    slack_ns: u64,
    /// The latest time that an event had.
    latest_ns: u64,
    /// Events so far.
    count: u64,
    /// What was not found out.
    over: OverBudget,
    /// A correlation that somebody wants to understand.
    explainer: Option<CorrelationExplainer<'i>>,
}

/// What events cost more than they may, and what was not found out because of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverBudget {
    /// Events with values that were not read whole.
    pub cut_events: u64,
    /// The first of them.
    pub first_cut: Option<u64>,
    /// Events of which the sensor had not taken all that rules ask for.
    pub source_cut_events: u64,
    /// The first of them.
    pub first_source_cut: Option<u64>,
    /// By the position of the first rule that was given up: events.
    pub given_up: BTreeMap<u32, u64>,
}

impl OverBudget {
    /// Notes what an evaluation of the event with this number could not do.
    pub fn note(&mut self, number: u64, limits: &Limits) {
        if limits.cut_values > 0 {
            self.cut_events = self.cut_events.saturating_add(1);
            self.first_cut.get_or_insert(number);
        }
        if limits.is_cut_at_source {
            self.source_cut_events = self.source_cut_events.saturating_add(1);
            self.first_source_cut.get_or_insert(number);
        }
        if let Some(rule) = limits.first_undecided {
            let count = self.given_up.entry(rule).or_insert(0);
            *count = count.saturating_add(1);
        }
    }
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The rule's id.
    pub rule: String,
    /// The event's number; of a correlation that of its last event.
    pub event: u64,
    /// Why, when it was asked for.
    pub explanation: Option<Explanation>,
    /// Of a correlation: what led to it.
    pub led: Option<Led>,
}

/// What led to a correlation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// What was counted.
    pub count: u64,
    /// It fired because a time was over.
    pub is_by_clock: bool,
    /// When it fired, nanoseconds since 1970 where its events say when they were.
    pub time_ns: u64,
    /// Its events, of many the last.
    pub events: Vec<LedBy>,
}

/// An event that led to a correlation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedBy {
    /// The stage or rule that it was an event of.
    pub input: String,
    /// Its number.
    pub event: u64,
    /// When.
    pub time_ns: u64,
}

impl Hit {
    /// What is told of a correlation that fired; `None` if it is there for others alone.
    #[must_use]
    pub fn of_correlation(image: &Image<'_>, correlated: Correlated<'_>) -> Option<Self> {
        let rule = image.rule(correlated.rule).filter(|_| !image.is_silenced(correlated.rule))?;
        let events = correlated.events.iter().map(|event| LedBy {
            input: image.input_name(event.input).to_owned(),
            event: event.moment.number,
            time_ns: event.moment.time_ns,
        });
        let Correlated { count, is_by_clock, moment, .. } = correlated;
        let led = Led { count, is_by_clock, time_ns: moment.time_ns, events: events.collect() };
        Some(Self { rule: rule.id().to_owned(), event: moment.number, explanation: None, led: Some(led) })
    }
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
    /// The rules of an image, ready for events that come in their order.
    #[must_use]
    pub fn new(image: Image<'i>) -> Self {
        Self::with_slack(image, 0)
    }

    /// The same for events that may come this much later than later ones. What needs several of them is told as much later.
    #[must_use]
    pub fn with_slack(image: Image<'i>, slack_ns: u64) -> Self {
        let (slots, correlator) = (Slots::of(&image), image.correlator(RECORDED_KEY));
        let (plans, scratch, over) = (HashMap::new(), Scratch::new(), OverBudget::default());
        Self { image, slots, plans, scratch, correlator, slack_ns, latest_ns: 0, count: 0, over, explainer: None }
    }

    /// The same, and it keeps account of the correlation whose rule is at this position.
    #[must_use]
    pub fn explaining(self, position: u32) -> Self {
        let explainer = self.image.correlation_explainer(position, RECORDED_KEY);
        Self { explainer, ..self }
    }

    /// What became of the correlation that it keeps account of.
    #[must_use]
    pub fn account(&self) -> Option<CorrelationAccount> {
        self.explainer.as_ref()?.account()
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

    /// The rules that fire on the event in this line, by id; with reasons if `explains`. Events are numbered as they come, from 1.
    ///
    /// # Errors
    /// When the line is not an event.
    pub fn line(&mut self, line: &str, explains: bool) -> Result<Vec<Hit>, LineError> {
        let number = self.count.saturating_add(1);
        self.parsed(number, &parse(line)?, explains)
    }

    /// The same for a line that was parsed already, with a number of its own.
    ///
    /// # Errors
    /// When it is not an event.
    pub fn parsed(&mut self, number: u64, json: &Json, explains: bool) -> Result<Vec<Hit>, LineError> {
        let (logsource, event) = parts(json)?;
        Ok(self.at(logsource, event, Moment { time_ns: time_ns(json).unwrap_or(0), number }, explains))
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
        let number = self.count.saturating_add(1);
        self.at(logsource, event, Moment { time_ns: 0, number }, explains)
    }

    /// The rules that fire on an event of that moment, and the correlations that are settled with it. An event of time 0 has none:
    /// it happens with the latest before it.
    pub fn at(&mut self, logsource: LogSource, event: &Json, moment: Moment, explains: bool) -> Vec<Hit> {
        self.count = self.count.saturating_add(1);
        let has_time = moment.time_ns != 0;
        let moment = Moment { time_ns: if has_time { moment.time_ns } else { self.latest_ns }, ..moment };
        self.latest_ns = self.latest_ns.max(moment.time_ns);
        let event = JsonEvent::new(event, &self.slots);
        if self.plans.len() >= PLANS_MAX && !self.plans.contains_key(&logsource) {
            self.plans.clear();
        }
        let Self { image, plans, scratch, correlator, explainer, over, .. } = self;
        let plan = plans.entry(logsource).or_insert_with_key(|logsource| image.plan(&logsource.lend()));
        let mut positions = Vec::new();
        let limits = plan.evaluate(&event, scratch, &mut |position| positions.push(position));
        over.note(moment.number, &limits);
        let (mut hits, mut led) = (Vec::new(), Vec::new());
        for position in positions {
            correlator.on_hit(position, &event, moment, &mut |hit| led.extend(Hit::of_correlation(image, hit)));
            if let Some(explainer) = explainer {
                explainer.on_hit(position, &event, moment);
            }
            if image.is_silenced(position) {
                continue;
            }
            let explanation = if explains { plan.explain(position, &event, scratch) } else { None };
            hits.extend(image.rule(position).map(|rule| Hit {
                rule: rule.id().to_owned(),
                event: moment.number,
                explanation,
                led: None,
            }));
        }
        hits.sort_by(|left, right| left.rule.cmp(&right.rule));
        let slack_ns = if has_time { self.slack_ns } else { 0 };
        let settled_ns = self.latest_ns.saturating_sub(slack_ns);
        correlator.advance(settled_ns, &mut |hit| led.extend(Hit::of_correlation(image, hit)));
        if let Some(explainer) = explainer {
            explainer.advance(settled_ns);
        }
        hits.append(&mut led);
        hits
    }

    /// What fires until this time without another event.
    pub fn advance(&mut self, time_ns: u64) -> Vec<Hit> {
        self.latest_ns = self.latest_ns.max(time_ns);
        let (mut hits, image) = (Vec::new(), &self.image);
        self.correlator.advance(self.latest_ns, &mut |hit| hits.extend(Hit::of_correlation(image, hit)));
        if let Some(explainer) = &mut self.explainer {
            explainer.advance(self.latest_ns);
        }
        hits
    }

    /// What is still to be told when there are no more events. Time ends with the last of them: what waits longer does not fire.
    pub fn end(&mut self) -> Vec<Hit> {
        self.advance(self.latest_ns)
    }

    /// What was not found out of events that cost more than they may.
    #[must_use]
    pub fn over_budget(&self) -> &OverBudget {
        &self.over
    }

    /// The correlations that let groups or events go because their state was full, by their rules' positions, with how many.
    pub fn over_state(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.correlator.over_state()
    }

    /// What correlations could not do within their bounds.
    #[must_use]
    pub fn limits(&self) -> watertight_engine::CorrelationLimits {
        self.correlator.limits()
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
