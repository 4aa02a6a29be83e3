//! `watertight content explain` for correlations and sequences: over a file of events in their order, why it fired or what was missing.
//!
//! The verdict is the engine's; what led to it is told by its slow sibling in the same image. Where the two differ, the engine's tables
//! were too small, and that is said.

use anyhow::Context as _;
use serde_json::{json, Value as Json};
use watertight_engine::{CorrelationAccount, Image, InputSeen, Rule, Step, Verdict};
use watertight_host::printable::printable;

use super::explain::{explanation_in_words, explanation_json};
use crate::command::recorded::{limits_in_words, Accounted, Recorded};

/// Steps of the text form: the last ones.
const STEPS_SHOWN_MAX: usize = 12;

/// What is told of a correlation.
pub(super) struct Together<'i> {
    rule: Rule<'i>,
    accounted: Accounted,
    /// Inputs that nothing fired, each with the last event that it could have and why it did not.
    silent: Vec<(InputSeen, Option<(u64, watertight_engine::Explanation)>)>,
}

impl<'i> Together<'i> {
    /// Runs the events through the rules.
    pub(super) fn of(image: &Image<'i>, position: u32, events: &[u8]) -> anyhow::Result<Self> {
        let rule = image.rule(position).context("a rule that is not there")?;
        let lines = || (1..).zip(events.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
        let accounted = Recorded::account(*image, position, lines())?;
        let mut recorded = Recorded::new(*image);
        let mut silent = Vec::new();
        for input in accounted.account.inputs.iter().filter(|input| input.hits == 0) {
            let mut nearest = None;
            if !image.is_correlation(input.rule) {
                for (number, line) in lines() {
                    // Lines that are no events were counted above.
                    if let Ok(Some(explanation)) = recorded.explain(input.rule, line) {
                        nearest = Some((number, explanation));
                    }
                }
            }
            silent.push((input.clone(), nearest));
        }
        Ok(Self { rule, accounted, silent })
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Json {
        let (file, line) = self.rule.place();
        let CorrelationAccount { told, wanted, timespan_ns, inputs, steps, under_way, .. } = &self.accounted.account;
        let group = |group: &[(String, String)]| -> Json {
            group.iter().map(|(field, value)| (field.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into()
        };
        let name = |stage: u32| inputs.get(stage as usize).map_or("", |input| input.name.as_str());
        let hits = told.iter().map(|told| {
            let events: Vec<u64> = told.events.iter().map(|event| event.moment.number).collect();
            json!({"event": told.moment.number, "count": told.count, "by_clock": told.is_by_clock, "events": events})
        });
        let inputs_seen = inputs.iter().map(|input| {
            let near = self.silent.iter().find(|(silent, _)| silent == input).and_then(|(_, near)| near.as_ref());
            let near = near.map(|(event, why)| json!({"event": event, "why": explanation_json(why)}));
            json!({"name": input.name, "hits": input.hits, "lacking": input.lacking, "nearest": near})
        });
        let steps = steps.iter().map(|(step, of)| {
            json!({
                "event": step.moment.number, "input": name(step.stage), "group": group(of),
                "verdict": in_words(step, *timespan_ns, wanted.as_deref(), &self.accounted.account),
            })
        });
        let under_way = under_way.iter().map(|open| {
            json!({
                "group": group(&open.group), "reached": open.reached.map(name), "since": open.since.number,
                "events": open.events,
            })
        });
        json!({
            "rule": self.rule.id(), "title": self.rule.title(), "file": file, "line": line,
            "applies": true, "fires": self.accounted.hits > 0, "times": self.accounted.hits,
            "timespan_ns": timespan_ns, "wanted": wanted,
            "hits": hits.collect::<Json>(), "inputs": inputs_seen.collect::<Json>(),
            "steps": steps.collect::<Json>(), "under_way": under_way.collect::<Json>(),
            "limits": limits_in_words(self.accounted.limits),
        })
    }

    /// For people.
    pub(super) fn in_words(&self) -> String {
        let account = &self.accounted.account;
        let (file, line) = self.rule.place();
        let verdict = match self.accounted.hits {
            0 => "does not fire".to_owned(),
            1 => "fires once".to_owned(),
            times => format!("fires {times} times"),
        };
        let (title, id) = (printable(self.rule.title()), printable(self.rule.id()));
        let mut words = vec![format!("{title} ({id}, {}:{line}) {verdict}", printable(file))];
        let wanted = account.wanted.as_ref().map(|wanted| format!("{wanted} ")).unwrap_or_default();
        words.push(format!("  condition: {wanted}within {}", seconds(account.timespan_ns)));
        for input in &account.inputs {
            let lacking = if input.lacking == 0 {
                String::new()
            } else {
                format!(", {} of them without a field that they are grouped by or measured in", input.lacking)
            };
            let hits = if input.hits == 1 { "hit" } else { "hits" };
            words.push(format!("  {}: {} {hits}{lacking}", printable(&input.name), input.hits));
            self.silence(input, &mut words);
        }
        for told in &account.told {
            let events: Vec<String> = told.events.iter().map(|event| event.moment.number.to_string()).collect();
            let by = if told.is_by_clock { ", when the time was over" } else { "" };
            words.push(format!("  fired with event {}{by}: events {}", told.moment.number, events.join(", ")));
        }
        let first = account.steps.len().saturating_sub(STEPS_SHOWN_MAX);
        for (step, group) in account.steps.iter().skip(first) {
            let name = account.inputs.get(step.stage as usize).map_or("", |input| input.name.as_str());
            let verdict = in_words(step, account.timespan_ns, account.wanted.as_deref(), account);
            let (name, group) = (printable(name), group_in_words(group));
            words.push(format!("  event {}, {name}{group}: {verdict}", step.moment.number));
        }
        for open in &account.under_way {
            let group = group_in_words(&open.group);
            let next = |reached: u32| account.inputs.get(reached.saturating_add(1) as usize);
            let state = match open.reached.and_then(next) {
                Some(next) => format!("{} is missing", printable(&next.name)),
                None => format!("{} events so far", open.events),
            };
            words.push(format!("  under way since event {}{group}: {state}", open.since.number));
        }
        words.extend(limits_in_words(self.accounted.limits).map(|limits| format!("  {limits}")));
        if self.accounted.hits != account.fired {
            words.push(format!(
                "  with room for everything it would fire {} times: raise `state` in the correlation",
                account.fired
            ));
        }
        words.push(String::new());
        words.join("\n")
    }

    /// Why nothing fired an input.
    fn silence(&self, input: &InputSeen, words: &mut Vec<String>) {
        let Some((_, near)) = self.silent.iter().find(|(silent, _)| silent == input) else { return };
        match near {
            None => words.push("    no event is of its log source".to_owned()),
            Some((event, why)) => {
                words.push(format!("    the last that it could be is event {event}, and"));
                words.extend(explanation_in_words(why).into_iter().map(|line| format!("  {line}")));
            }
        }
    }
}

fn group_in_words(group: &[(String, String)]) -> String {
    let parts: Vec<String> =
        group.iter().map(|(field, value)| format!("{} = {}", printable(field), printable(value))).collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    }
}

/// What was made of a hit.
fn in_words(step: &Step, timespan_ns: u64, wanted: Option<&str>, account: &CorrelationAccount) -> String {
    let wanted = wanted.unwrap_or("another");
    let names = |mask: u32| {
        let is_in = |(stage, _): &(usize, &InputSeen)| mask.checked_shr(*stage as u32).unwrap_or(0) & 1 == 1;
        let named = account.inputs.iter().enumerate().filter(is_in).map(|(_, input)| printable(&input.name));
        named.collect::<Vec<_>>().join(", ")
    };
    match &step.verdict {
        Verdict::Fired { count } => format!("fired, with {count}"),
        Verdict::Measures { measured, events } => {
            format!("comes to {measured} in {events} events, and had to be {wanted}")
        }
        Verdict::WaitsUntil { time_ns } => {
            format!("is judged in {}", seconds(time_ns.saturating_sub(step.moment.time_ns)))
        }
        Verdict::Over { measured, events, fires } => {
            let so = if *fires { "as it had to be" } else { "and had to be" };
            format!("the time was over: {measured} in {events} events, {so} {wanted}")
        }
        Verdict::Lacking { missing, unwanted } => {
            let missing = (*missing != 0).then(|| format!("{} is missing", names(*missing)));
            let unwanted = (*unwanted != 0).then(|| format!("{} had to stay away", names(*unwanted)));
            missing.into_iter().chain(unwanted).collect::<Vec<_>>().join(", ")
        }
        Verdict::Reached { began } if began.number == step.moment.number => "a sequence begins".to_owned(),
        Verdict::Reached { began } => format!("goes on with the sequence that began at event {}", began.number),
        Verdict::AlreadyWaits => "the last stage is waited for already".to_owned(),
        Verdict::NothingBefore { elsewhere: None } => "no sequence had come to the stage before".to_owned(),
        Verdict::NothingBefore { elsewhere: Some(other) } => {
            format!("no sequence with these values had come to the stage before; event {} has others", other.number)
        }
        Verdict::TooLate { began, by_ns } => format!(
            "too late by {}: the sequence began at event {}, and {} are allowed",
            seconds(*by_ns),
            began.number,
            seconds(timespan_ns)
        ),
        Verdict::SameEvent => "the stage before was this very event".to_owned(),
        Verdict::NotDifferent { began } => {
            format!(
                "a value had to differ from that of the sequence that began at event {}, and does not",
                began.number
            )
        }
        Verdict::CalledOff { began } => {
            format!("had to stay away: it ends what began at event {}", began.number)
        }
        Verdict::Lacks { field } => format!("the event has no {}", printable(field)),
    }
}

/// A length of time for people.
#[allow(clippy::cast_precision_loss)] // for people
fn seconds(ns: u64) -> String {
    format!("{} s", ns as f64 / 1e9)
}
