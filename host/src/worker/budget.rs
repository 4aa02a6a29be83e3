//! Says that events cost more than content may: what of them rules did not see, and which rule was given up. The event itself is
//! written like any other. Who sends such events on purpose must not fill the log with them, so each cause is told once a second at
//! most, with how many events it stands for.

use std::collections::BTreeMap;

use watertight_engine::Limits;
use watertight_event::{Event, Field, Kind, Outcome, Source};

/// Shortest time between two events of one cause.
const APART_NS: u64 = 1_000_000_000;

/// What went over its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    CutValue,
    GivenUp,
    CutAtSource,
    FullState,
}

/// What of events is counted, as it is told everywhere, in the order of `Cause::OF_EVENT`.
pub const OF_EVENTS: [&str; Cause::OF_EVENT.len()] = ["value", "rule", "source"];

/// The counts with their names.
#[must_use]
pub fn named(counts: [u64; OF_EVENTS.len()]) -> serde_json::Value {
    OF_EVENTS.into_iter().zip(counts).map(|(name, count)| (name.to_owned(), serde_json::Value::from(count))).collect()
}

/// What a count of this name is of.
#[must_use]
pub fn in_words(name: &str) -> &'static str {
    match name {
        "value" => "events whose values were too long to be read whole",
        "rule" => "events for which rules were given up",
        _ => "events of which the sensor had not taken all that rules ask for",
    }
}

impl Cause {
    /// Those of one evaluation.
    const OF_EVENT: [Self; 3] = [Self::CutValue, Self::GivenUp, Self::CutAtSource];

    fn name(self) -> &'static str {
        match self {
            Self::CutValue => "value",
            Self::GivenUp => "rule",
            Self::CutAtSource => "source",
            Self::FullState => "state",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::CutValue => "values were too long to be read whole: rules saw their beginning and end, or less",
            Self::GivenUp => "rules were given up: to find out whether they are true would have cost too much",
            Self::CutAtSource => "the sensor takes less of values than there was (`truncated` names them): rules did not see the rest",
            Self::FullState => {
                "a correlation's state was full and it let its oldest groups or events go: give it more `state`, or group by less"
            }
        }
    }
}

/// What is still to be told, by cause; of correlations by the position of their rules.
#[derive(Debug, Default)]
pub struct OverBudget {
    of_event: [Pending; Cause::OF_EVENT.len()],
    of_state: BTreeMap<u32, FullState>,
    /// Events since the run began, by cause.
    events: [u64; OF_EVENTS.len()],
}

/// What was told of a correlation.
#[derive(Clone, Copy, Debug, Default)]
struct FullState {
    count: u64,
    told_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Pending {
    events: u64,
    rule: Option<String>,
    told_ns: Option<u64>,
}

impl OverBudget {
    /// Notes what an evaluation could not do, `rule` being the first that was given up; what is to be told now.
    pub fn note(&mut self, limits: &Limits, rule: Option<&str>, now_ns: u64) -> Vec<Event> {
        let over = [limits.cut_values > 0, limits.undecided_rules > 0, limits.is_cut_at_source];
        if over == [false; OF_EVENTS.len()] {
            return Vec::new();
        }
        self.events.iter_mut().zip(over).for_each(|(events, is_over)| *events = events.saturating_add(is_over.into()));
        let causes = Cause::OF_EVENT.into_iter().zip(over).zip(&mut self.of_event).filter(|((_, is_over), _)| *is_over);
        causes.filter_map(|((cause, _), pending)| pending.note(cause, rule, now_ns)).collect()
    }

    /// Events since the run began, in the order of [`OF_EVENTS`].
    #[must_use]
    pub fn events(&self) -> [u64; OF_EVENTS.len()] {
        self.events
    }

    /// Goes on with the counts of detectors that died.
    pub fn resume(&mut self, events: [u64; OF_EVENTS.len()]) {
        self.events = events;
    }

    /// What is to be told now of correlations that let groups or events go: position and id of the rule, and how many so far.
    pub fn note_state<'r>(&mut self, over: impl Iterator<Item = (u32, &'r str, u64)>, now_ns: u64) -> Vec<Event> {
        over.filter_map(|(position, rule, count)| {
            let told = self.of_state.entry(position).or_default();
            let more = count.saturating_sub(told.count);
            if more == 0 || is_too_soon(told.told_ns, now_ns) {
                return None;
            }
            *told = FullState { count, told_ns: Some(now_ns) };
            Some(event(Cause::FullState, more, now_ns).with(Field::ContentRule, rule))
        })
        .collect()
    }

    /// Other content is in force: its correlations begin to count anew.
    pub fn forget_state(&mut self) {
        self.of_state.clear();
    }
}

impl Pending {
    fn note(&mut self, cause: Cause, rule: Option<&str>, now_ns: u64) -> Option<Event> {
        self.events = self.events.saturating_add(1);
        if cause == Cause::GivenUp && self.rule.is_none() {
            self.rule = rule.map(str::to_owned);
        }
        if is_too_soon(self.told_ns, now_ns) {
            return None;
        }
        self.told_ns = Some(now_ns);
        let mut event = event(cause, std::mem::take(&mut self.events), now_ns);
        if let Some(rule) = self.rule.take() {
            event.set(Field::ContentRule, rule.as_str());
        }
        Some(event)
    }
}

fn is_too_soon(told_ns: Option<u64>, now_ns: u64) -> bool {
    told_ns.is_some_and(|told_ns| now_ns.saturating_sub(told_ns) < APART_NS)
}

fn event(cause: Cause, count: u64, now_ns: u64) -> Event {
    Event::new(Kind::ContentOverBudget, Outcome::Done, Source::Sensor, now_ns)
        .with(Field::Of, cause.name())
        .with(Field::Count, count)
        .with(Field::Message, cause.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cut_values: u32, undecided_rules: u32) -> Limits {
        Limits { cut_values, undecided_rules, ..Limits::default() }
    }

    #[test]
    fn an_event_within_its_budget_is_not_told_of() {
        assert!(OverBudget::default().note(&limits(0, 0), None, 7).is_empty());
    }

    #[test]
    fn a_flood_is_told_once_a_second_for_each_cause_with_how_many_events_it_was() {
        let mut over = OverBudget::default();
        let mut told = Vec::new();
        for number in 0..2_500_u64 {
            told.extend(over.note(&limits(3, u32::from(number >= 1_000)), Some("the rule"), number * 1_000_000));
        }
        let told: Vec<_> = told
            .iter()
            .map(|event| {
                let (of, rule) = (event.text(Field::Of).expect("set"), event.text(Field::ContentRule));
                (of.into_owned(), event.number(Field::Count), rule.map(std::borrow::Cow::into_owned))
            })
            .collect();
        let rule = Some("the rule".to_owned());
        let expected = [
            ("value", 1, None),
            ("value", 1_000, None),
            ("rule", 1, rule.clone()),
            ("value", 1_000, None),
            ("rule", 1_000, rule),
        ];
        let expected = expected.map(|(of, count, rule)| (of.to_owned(), Some(count), rule));
        assert_eq!(told, expected);
    }

    #[test]
    fn what_the_sensor_had_not_taken_is_told_and_every_cause_is_counted_by_its_own_name() {
        let mut over = OverBudget::default();
        let cut = Limits { is_cut_at_source: true, ..limits(0, 0) };
        let told = over.note(&cut, None, 7);
        assert_eq!(
            told.iter().map(|event| event.text(Field::Of).expect("set").into_owned()).collect::<Vec<_>>(),
            ["source"]
        );
        assert!(over.note(&cut, None, 8).is_empty(), "the same second");
        over.note(&Limits { is_cut_at_source: true, ..limits(1, 1) }, Some("rule"), 9);
        let named = named(over.events());
        assert_eq!(named, serde_json::json!({"value": 1, "rule": 1, "source": 3}));
        assert_eq!(OF_EVENTS, Cause::OF_EVENT.map(Cause::name));
    }

    #[test]
    fn a_state_that_is_full_is_told_by_its_rule_once_a_second_and_no_count_is_lost_or_told_twice() {
        let mut over = OverBudget::default();
        let mut told = Vec::new();
        for number in 1..=2_500_u64 {
            let counts = [(7, "one", number), (9, "other", 3)];
            for event in over.note_state(counts.into_iter(), number * 1_000_000) {
                assert_eq!((event.text(Field::Of).as_deref(), event.foreign_fields().next()), (Some("state"), None));
                let rule = event.text(Field::ContentRule).expect("set").into_owned();
                told.push((rule, event.number(Field::Count).expect("set")));
            }
        }
        let expected = [("one", 1), ("other", 3), ("one", 1_000), ("one", 1_000)];
        assert_eq!(told, expected.map(|(rule, count)| (rule.to_owned(), count)));
        over.forget_state();
        assert_eq!(over.note_state([(7, "new", 2)].into_iter(), 2_500_000_001).len(), 1);
    }

    #[test]
    fn every_field_of_it_is_one_that_the_table_gives_it() {
        for event in OverBudget::default().note(&Limits { is_cut_at_source: true, ..limits(1, 1) }, Some("rule"), 7) {
            assert_eq!(event.foreign_fields().next(), None, "{event:?}");
        }
    }
}
