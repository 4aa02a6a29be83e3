//! Says that events cost more than content may: what of them rules did not see, and which rule was given up. The event itself is
//! written like any other. Who sends such events on purpose must not fill the log with them, so each cause is told once a second at
//! most, with how many events it stands for.

use watertight_engine::Limits;
use watertight_event::{Event, Field, Kind, Outcome, Source};

/// Shortest time between two events of one cause.
const APART_NS: u64 = 1_000_000_000;

/// What went over its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    CutValue,
    GivenUp,
}

impl Cause {
    const ALL: [Self; 2] = [Self::CutValue, Self::GivenUp];

    fn name(self) -> &'static str {
        match self {
            Self::CutValue => "value",
            Self::GivenUp => "rule",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::CutValue => "values were too long to be read whole: rules saw their beginning and end, or less",
            Self::GivenUp => "rules were given up: to find out whether they are true would have cost too much",
        }
    }
}

/// What is still to be told, by cause.
#[derive(Debug, Default)]
pub struct OverBudget([Pending; Cause::ALL.len()]);

#[derive(Debug, Default)]
struct Pending {
    events: u64,
    rule: Option<String>,
    told_ns: Option<u64>,
}

impl OverBudget {
    /// Notes what an evaluation could not do, `rule` being the first that was given up; what is to be told now.
    pub fn note(&mut self, limits: &Limits, rule: Option<&str>, now_ns: u64) -> Vec<Event> {
        let over = [limits.cut_values > 0, limits.undecided_rules > 0];
        if over == [false, false] {
            return Vec::new();
        }
        let causes = Cause::ALL.into_iter().zip(over).zip(&mut self.0).filter(|((_, is_over), _)| *is_over);
        causes.filter_map(|((cause, _), pending)| pending.note(cause, rule, now_ns)).collect()
    }
}

impl Pending {
    fn note(&mut self, cause: Cause, rule: Option<&str>, now_ns: u64) -> Option<Event> {
        self.events = self.events.saturating_add(1);
        if cause == Cause::GivenUp && self.rule.is_none() {
            self.rule = rule.map(str::to_owned);
        }
        if self.told_ns.is_some_and(|told_ns| now_ns.saturating_sub(told_ns) < APART_NS) {
            return None;
        }
        self.told_ns = Some(now_ns);
        let mut event = Event::new(Kind::ContentOverBudget, Outcome::Done, Source::Sensor, now_ns)
            .with(Field::Of, cause.name())
            .with(Field::Count, std::mem::take(&mut self.events))
            .with(Field::Message, cause.message());
        if let Some(rule) = self.rule.take() {
            event.set(Field::ContentRule, rule.as_str());
        }
        Some(event)
    }
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
    fn every_field_of_it_is_one_that_the_table_gives_it() {
        for event in OverBudget::default().note(&limits(1, 1), Some("rule"), 7) {
            assert_eq!(event.foreign_fields().next(), None, "{event:?}");
        }
    }
}
