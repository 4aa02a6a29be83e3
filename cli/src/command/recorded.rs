//! What a recorded line is, told by its members: an event with its log source (the form of `detect`, and of `run --as sigma`),
//! an event in native form, or a line of a run that is no event.
//!
//! Native events go to the same evaluation as live ones, so that a recording can't match otherwise than the run did.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value as Json};
use watertight_content::sigma::detect::{parse, Detector, Hit, OverBudget};
use watertight_engine::{
    CorrelationAccount, CorrelationLimits, Cost, Explanation, Image, Moment, FIELD_BYTES_MAX, TAIL_BYTES,
    VALUE_BYTES_MAX,
};
use watertight_event::{Event, Kind, View};
use watertight_host::printable::printable;
use watertight_host::worker::correlations::CorrelationAlert;
use watertight_host::worker::rules::{Alert, Rules};

/// Kinds of the lines that `run -o json` writes beside events.
const NO_EVENTS: [&str; 5] = ["alert", "content", "matrix", "sandbox", "summary"];
/// What stands for a line that `--as sigma` wrote of an event that answers to no log source.
const NO_LOG_SOURCE: &str = "event without log source";

/// What stands for a line that is no JSON: a run that was killed may have left half a line, in the middle or at the end.
const UNREADABLE: &str = "unreadable";

/// How much later than others an event may have been written: a run reads its sources in turns.
const SLACK_NS: u64 = 2_000_000_000;

/// Evaluates rules over lines of any form that is known.
pub struct Recorded<'i> {
    image: Image<'i>,
    detector: Detector<'i>,
    /// Made at the first native event: most inputs have none.
    native: Option<Rules<'i>>,
    /// What was not found out of native events.
    native_over: OverBudget,
    passed_over: BTreeMap<&'static str, u64>,
    /// Lines that are JSON: what has none of them is no recording.
    readable: u64,
    /// The first line that is not, by its number, and why.
    first_unreadable: Option<(u64, anyhow::Error)>,
    /// The latest time that a native event had.
    latest_ns: u64,
    /// What was evaluated, if that is counted.
    counted: Option<Counted>,
}

/// What became of a correlation.
pub struct Accounted {
    /// How often the engine let it fire. One that is silenced for others fires for them alone.
    pub hits: u64,
    /// What the engine had no room for.
    pub limits: CorrelationLimits,
    /// How it came to that.
    pub account: CorrelationAccount,
}

/// What was evaluated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Events that rules were asked about.
    pub events: u64,
    /// Processor time of the rules: what else the machine does is not in it.
    pub took: Duration,
}

/// What is done with a line.
enum Line<'j> {
    Sigma,
    Native(&'j Map<String, Json>),
    PassedOver(&'static str),
}

impl<'i> Recorded<'i> {
    /// The rules of an image, ready for lines.
    pub fn new(image: Image<'i>) -> Self {
        let (native_over, passed_over, readable, first_unreadable) = Default::default();
        let detector = Detector::with_slack(image, SLACK_NS);
        Self {
            image,
            detector,
            native: None,
            native_over,
            passed_over,
            readable,
            first_unreadable,
            latest_ns: 0,
            counted: None,
        }
    }

    /// The same, and it counts what the rules cost.
    pub fn counting(self) -> Self {
        let native = Some(Rules::of(self.image).counting());
        Self { detector: self.detector.counting(), native, counted: Some(Counted::default()), ..self }
    }

    /// What was evaluated, if that is counted.
    pub fn counted(&self) -> Counted {
        self.counted.unwrap_or_default()
    }

    /// What each rule has cost, by its position, if that is counted.
    pub fn costs(&self) -> Vec<Cost> {
        let mut costs = vec![Cost::default(); self.image.rules().len()];
        let tallies = [self.detector.tally(), self.native.as_ref().and_then(Rules::tally)];
        for tally in tallies.into_iter().flatten() {
            for (sum, cost) in costs.iter_mut().zip(tally.costs()) {
                sum.evaluations = sum.evaluations.saturating_add(cost.evaluations);
                sum.questions = sum.questions.saturating_add(cost.questions);
                sum.work = sum.work.saturating_add(cost.work);
                sum.hits = sum.hits.saturating_add(cost.hits);
                sum.undecided = sum.undecided.saturating_add(cost.undecided);
            }
        }
        costs
    }

    /// The rules that fire on the event in this line; with reasons if `explains`. A line that is no JSON is passed over.
    ///
    /// # Errors
    /// When the line is JSON and neither an event nor what a run writes beside events.
    pub fn line(&mut self, number: u64, bytes: &[u8], explains: bool) -> anyhow::Result<Vec<Hit>> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        let text = std::str::from_utf8(bytes).context("this is not UTF-8");
        let json = match text.and_then(|text| Ok(parse(text)?)) {
            Ok(json) => json,
            Err(error) => {
                self.first_unreadable.get_or_insert((number, error));
                self.pass_over(UNREADABLE);
                return Ok(Vec::new());
            }
        };
        self.readable = self.readable.saturating_add(1);
        match line(&json)? {
            Line::Sigma => self.evaluating(|recorded| Ok(recorded.detector.parsed(number, &json, explains)?)),
            Line::Native(object) => {
                let event = Event::from_object(object)?;
                self.evaluating(|recorded| Ok(recorded.native(number, &event, explains)))
            }
            Line::PassedOver(what) => {
                self.pass_over(what);
                Ok(Vec::new())
            }
        }
    }

    /// Why the rule at this position fires on the event in this line, or why not; `None` when it is for another log source.
    ///
    /// # Errors
    /// The line is no event.
    pub fn explain(&mut self, position: u32, bytes: &[u8]) -> anyhow::Result<Option<Explanation>> {
        let json = parse(std::str::from_utf8(bytes).context("this is not UTF-8")?)?;
        match line(&json)? {
            Line::Sigma => Ok(self.detector.explain(&json, position)?),
            Line::Native(object) => {
                let event = Event::from_object(object)?;
                Ok(self.rules().explain(&event, position))
            }
            Line::PassedOver(what) => anyhow::bail!("no rule is asked about this line: {what}"),
        }
    }

    /// The same for several rules, without those that are for another log source; none for a line that is no event.
    ///
    /// # Errors
    /// The line is JSON and neither an event nor what a run writes beside events.
    pub fn explain_each(&mut self, positions: &[u32], bytes: &[u8]) -> anyhow::Result<Vec<(u32, Explanation)>> {
        let Some(json) = std::str::from_utf8(bytes).ok().and_then(|text| parse(text).ok()) else {
            return Ok(Vec::new());
        };
        let mut explained = Vec::new();
        match line(&json)? {
            Line::Sigma => {
                for position in positions {
                    explained
                        .extend(self.detector.explain(&json, *position)?.map(|explanation| (*position, explanation)));
                }
            }
            Line::Native(object) => {
                let event = Event::from_object(object)?;
                for position in positions {
                    let explanation = self.rules().explain(&event, *position);
                    explained.extend(explanation.map(|explanation| (*position, explanation)));
                }
            }
            Line::PassedOver(_) => {}
        }
        Ok(explained)
    }

    /// What the correlation at this position made of these lines, by number. Native events are shown to it by Sigma's names, so that
    /// one account has them all.
    ///
    /// # Errors
    /// A line is neither an event nor what a run writes beside events.
    pub fn account<'l>(
        image: Image<'i>,
        position: u32,
        lines: impl Iterator<Item = (u64, &'l [u8])>,
    ) -> anyhow::Result<Accounted> {
        let mut detector = Detector::with_slack(image, SLACK_NS).explaining(position);
        let id = image.rule(position).map_or("", |rule| rule.id());
        let mut hits = 0_u64;
        let count =
            |told: Vec<Hit>| told.iter().filter(|hit| hit.rule == id).fold(0_u64, |sum, _| sum.saturating_add(1));
        let mut note = |told| hits = hits.saturating_add(count(told));
        for (number, bytes) in lines {
            let place = || format!("line {number}");
            let json = std::str::from_utf8(bytes).context("this is not UTF-8").and_then(|text| Ok(parse(text)?));
            let json = json.with_context(place)?;
            match line(&json).with_context(place)? {
                Line::Sigma => note(detector.parsed(number, &json, false).with_context(place)?),
                Line::Native(object) => {
                    let shown = View::Sigma.render(&Event::from_object(object).with_context(place)?);
                    // One that answers to no log source is shown to no rule, live either.
                    if shown.get("logsource").is_some() {
                        note(detector.parsed(number, &shown, false).with_context(place)?);
                    }
                }
                Line::PassedOver(_) => {}
            }
        }
        note(detector.end());
        let account = detector.account().context("the rule is no correlation")?;
        if image.is_silenced(position) {
            hits = account.fired;
        }
        Ok(Accounted { hits, limits: detector.limits(), account })
    }

    fn rules(&mut self) -> &mut Rules<'i> {
        self.native.get_or_insert_with(|| Rules::of(self.image))
    }

    /// Evaluates, and notes how long that took if it is counted.
    fn evaluating(&mut self, evaluate: impl FnOnce(&mut Self) -> anyhow::Result<Vec<Hit>>) -> anyhow::Result<Vec<Hit>> {
        let began = self.counted.map(|_| processor_time());
        let hits = evaluate(self)?;
        if let (Some(began), Some(counted)) = (began, &mut self.counted) {
            counted.events = counted.events.saturating_add(1);
            counted.took = counted.took.saturating_add(processor_time().saturating_sub(began));
        }
        Ok(hits)
    }

    fn pass_over(&mut self, what: &'static str) {
        let count = self.passed_over.entry(what).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// What people are told at the end of the input called `name`: how many lines of each kind were no events, and where the
    /// first unreadable one is.
    ///
    /// # Errors
    /// There were lines, and none of them was JSON: this is no recording.
    pub fn end(&mut self, name: &str) -> anyhow::Result<Vec<String>> {
        let mut words = Vec::new();
        words.extend(passed_over_in_words(&self.passed_over).map(|words| format!("{name}: {words}")));
        match self.first_unreadable.take() {
            Some((number, error)) if self.readable == 0 => Err(error.context(format!("{name}:{number}"))),
            Some((number, error)) => {
                words.push(format!(
                    "{name}:{number}: the first line that is unreadable (a run that was killed leaves such): {error:#}"
                ));
                Ok(words)
            }
            None => Ok(words),
        }
    }

    fn native(&mut self, number: u64, event: &Event, explains: bool) -> Vec<Hit> {
        let time_ns = if event.unix_ns > 0 { event.unix_ns } else { event.boot_ns };
        self.latest_ns = self.latest_ns.max(time_ns);
        let (image, settled_ns) = (self.image, self.latest_ns.saturating_sub(SLACK_NS));
        let rules = self.rules();
        let (mut hits, mut together) = (Vec::new(), Vec::new());
        let mut alert = |alert: Alert<'_>| {
            let explanation = alert.explanation.filter(|_| explains);
            hits.push(Hit { rule: alert.rule.id().to_owned(), event: number, explanation, led: None });
        };
        let mut complete = |alert: CorrelationAlert<'_>| together.extend(Hit::of_correlation(&image, alert.correlated));
        let limits = rules.evaluate_at((event, &[]), Moment { time_ns, number }, &mut alert, &mut complete);
        rules.advance(settled_ns, &mut complete);
        self.native_over.note(number, &limits);
        hits.sort_by(|left, right| left.rule.cmp(&right.rule));
        hits.append(&mut together);
        hits
    }

    /// What fires once all lines are read: time ends with the last of them.
    pub fn last_hits(&mut self) -> Vec<Hit> {
        let mut hits = self.detector.end();
        let image = &self.image;
        if let Some(rules) = &mut self.native {
            let mut complete = |alert: CorrelationAlert<'_>| hits.extend(Hit::of_correlation(image, alert.correlated));
            rules.advance(self.latest_ns, &mut complete);
        }
        hits
    }

    /// What correlations could not do within their bounds, for people.
    pub fn limits_in_words(&self) -> Vec<String> {
        let all = [Some(self.detector.limits()), self.native.as_ref().map(Rules::limits)];
        let mut words: Vec<String> = all.into_iter().flatten().filter_map(limits_in_words).collect();
        let id = |position| self.image.rule(position).map_or("", |rule| rule.id());
        let native = self.native.iter().flat_map(Rules::over_state).map(|(position, _, count)| (position, count));
        for (position, count) in self.detector.over_state().chain(native) {
            words.push(format!(
                "correlation {}: its state was full, {count} groups or events let go: give it more `state`, or group by less",
                id(position)
            ));
        }
        for over in [self.detector.over_budget(), &self.native_over] {
            if let Some(first) = over.first_cut {
                words.push(format!(
                    "{} events, the first in line {first}, were read in part (of a value {VALUE_BYTES_MAX} bytes at its beginning and \
                     {TAIL_BYTES} at its end, of a field {FIELD_BYTES_MAX} bytes): rules may say otherwise of the rest",
                    over.cut_events
                ));
            }
            if let Some(first) = over.first_source_cut {
                words.push(format!(
                    "{} events, the first in line {first}, were cut by the sensor that took them (`truncated` names the fields): rules \
                     did not see the rest",
                    over.source_cut_events
                ));
            }
            let given_up = over.given_up.iter();
            words.extend(given_up.map(|(position, count)| {
                format!("rule {}: given up on {count} events: finding out would have cost too much", id(*position))
            }));
        }
        words
    }

    /// Events of which rules saw less than all.
    pub fn cut_events(&self) -> u64 {
        self.detector.over_budget().cut_events.saturating_add(self.native_over.cut_events)
    }
}

/// What this thread has had of the processor so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn line(json: &Json) -> anyhow::Result<Line<'_>> {
    // What is neither of a form below is refused in the words of the first.
    let Some(object) =
        json.as_object().filter(|object| !object.contains_key("event") || !object.contains_key("logsource"))
    else {
        return Ok(if is_without_log_source(json) { Line::PassedOver(NO_LOG_SOURCE) } else { Line::Sigma });
    };
    if let Some(kind) = object.get("kind").and_then(Json::as_str) {
        if is_of_sigma_without_log_source(object) {
            return Ok(Line::PassedOver(NO_LOG_SOURCE));
        }
        if let Some(kind) = NO_EVENTS.into_iter().find(|known| *known == kind) {
            return Ok(Line::PassedOver(kind));
        }
        if Kind::from_native(kind).is_none() {
            let kind = printable(kind);
            anyhow::bail!(
                "{kind:?} is no kind of event or line that this version writes: read it with the version that did"
            );
        }
        return Ok(Line::Native(object));
    }
    let form = match (object.contains_key("@timestamp"), object.contains_key("class_uid")) {
        (true, _) => "ECS",
        (_, true) => "OCSF",
        _ => return Ok(Line::Sigma),
    };
    anyhow::bail!(
        "this is an event in {form} form, which has lost what rules ask for: record with `watertight run -o json`, natively or \
         with `--as sigma`"
    )
}

/// What `--as sigma` writes of an event that answers to no log source: its kind, and the event by Sigma's names, where an event
/// in native form has its outcome. Live, no rule is asked about it.
fn is_of_sigma_without_log_source(object: &Map<String, Json>) -> bool {
    let is_event = object.get("event").is_some_and(Json::is_object) && !object.contains_key("outcome");
    is_event && object.get("kind").and_then(Json::as_str).and_then(Kind::from_native).is_some()
}

/// The same in recordings of earlier versions, which wrote an empty log source.
fn is_without_log_source(json: &Json) -> bool {
    json.get("logsource")
        .is_some_and(|logsource| *logsource == serde_json::json!({ "category": "", "product": "linux" }))
}

/// What correlations lost, if they lost anything.
pub fn limits_in_words(limits: CorrelationLimits) -> Option<String> {
    let counts = [
        (limits.evicted_groups, "groups let go for want of room"),
        (limits.cut_members, "events or values of a group let go"),
        (limits.late_events, "events too late for their order"),
        (limits.incomplete_hits, "hits without a field that they are grouped by"),
        (limits.hurried_hits, "hits judged before their turn"),
        (limits.dropped_hits, "hits of correlations not passed on"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!told.is_empty()).then(|| format!("correlations saw less than all: {}", told.join(", ")))
}

/// The counts for people, if there are any.
fn passed_over_in_words(counts: &BTreeMap<&'static str, u64>) -> Option<String> {
    let kinds: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let total: u64 = counts.values().sum();
    (total > 0).then(|| format!("{total} lines passed over, no rule is asked about them: {}", kinds.join(", ")))
}

#[cfg(test)]
mod tests {
    use watertight_content::sigma::{load_texts, Source};
    use watertight_event::{Field, Outcome, Source as EventSource, Text, Value, View};

    use super::*;

    const RULES: &str = "
title: A shell
id: 00000000-0000-4000-8000-000000000001
logsource: {category: process_creation, product: linux}
detection:
  selection:
    Image|endswith: /sh
    CommandLine|contains: evil
  condition: selection
---
title: A connection
id: 00000000-0000-4000-8000-000000000002
logsource: {category: network_connection, product: linux}
detection:
  selection:
    DestinationIp|cidr: 10.0.0.0/8
    DestinationPort: 4444
    Initiated: true
  condition: selection
---
title: Anything on Linux
id: 00000000-0000-4000-8000-000000000003
logsource: {product: linux}
detection:
  keywords:
    - evil
    - CommandLine
  condition: keywords
";

    fn events() -> Vec<Event> {
        let event = |kind| Event::new(kind, Outcome::Done, EventSource::TpBtf, 7).with(Field::Pid, 4_u64);
        let cut = Text { bytes: b"cat".to_vec().into(), is_truncated: true };
        let mapped: std::net::IpAddr = "::ffff:10.1.2.3".parse().expect("an address");
        let connect = |kind| {
            event(kind)
                .with(Field::RemoteAddress, Value::Address(mapped))
                .with(Field::RemotePort, 4444_u64)
                .with(Field::IsInitiated, true)
                .with(Field::CommandLine, "evil")
        };
        vec![
            event(Kind::ProcessExec).with(Field::Executable, "/bin/sh").with(Field::CommandLine, "sh -c evil"),
            event(Kind::ProcessExec).with(Field::Executable, "/bin/ls").with(Field::CommandLine, "ls"),
            event(Kind::ProcessExec).with(Field::Executable, "/bin/cat").with(Field::CommandLine, cut),
            connect(Kind::NetworkConnect),
            connect(Kind::NetworkEstablished),
            event(Kind::SensorGap).with(Field::Message, "evil"),
        ]
    }

    #[test]
    fn an_event_that_answers_to_no_log_source_is_passed_over_in_the_form_of_every_version() {
        let mut library = load_texts([Source { file: "rules.yml", text: RULES }]);
        let image = library.image().expect("few rules");
        let mut recorded = Recorded::new(Image::open(&image).expect("compiled here"));
        let event =
            Event::new(Kind::NetworkEstablished, Outcome::Done, EventSource::TpBtf, 7).with(Field::CommandLine, "evil");
        let now = View::Sigma.render(&event);
        assert_eq!((now.get("logsource"), &now["kind"]), (None, &serde_json::json!("network.established")));
        assert!(now["time"].is_string(), "{now}");
        let before = r#"{"event":{"CommandLine":"evil"},"logsource":{"category":"","product":"linux"}}"#;
        for line in [now.to_string().as_str(), before] {
            assert_eq!(fired(&mut recorded, line), Vec::<String>::new());
        }
        let words = recorded.end("events").expect("all are JSON").concat();
        assert!(words.contains("2 event without log source"), "{words}");
        let unknown = recorded.line(1, br#"{"kind":"process.dance","event":{}}"#, false);
        assert!(unknown.is_err_and(|error| error.to_string().contains("process.dance")));
        let forgotten = recorded.line(1, br#"{"event":{"CommandLine":"evil"}}"#, false);
        assert!(forgotten.is_err_and(|error| error.to_string().contains("logsource")));
    }

    fn fired(recorded: &mut Recorded<'_>, line: &str) -> Vec<String> {
        let hits = recorded.line(1, line.as_bytes(), true).expect("a line of ours");
        assert!(hits.iter().all(|hit| hit.explanation.is_some()), "{hits:?}");
        hits.into_iter().map(|hit| hit.rule).collect()
    }

    #[test]
    fn what_a_run_records_fires_the_rules_that_fired_live() {
        let mut library = load_texts([Source { file: "rules.yml", text: RULES }]);
        assert_eq!(library.rules.len(), 3, "{:?}", library.rejections);
        let image = library.image().expect("few rules");
        let image = Image::open(&image).expect("compiled here");
        let mut live = Rules::of(image);
        for view in [View::Native, View::Sigma] {
            let mut recorded = Recorded::new(image);
            let mut total = 0;
            for event in events() {
                let mut expected = Vec::new();
                live.evaluate(&event, &mut |alert| expected.push(alert.rule.id().to_owned()));
                expected.sort();
                total += expected.len();
                let found = fired(&mut recorded, &view.render(&event).to_string());
                assert_eq!(found, expected, "{view:?} {event:?}");
            }
            assert_eq!(total, 4, "rules 1 and 3 on the shell, 2 and 3 on the connection");
        }
    }

    #[test]
    fn lines_that_are_no_events_are_counted_and_unknown_ones_are_refused_with_the_mend() {
        let mut library = load_texts([Source { file: "rules.yml", text: RULES }]);
        let image = library.image().expect("few rules");
        let mut recorded = Recorded::new(Image::open(&image).expect("compiled here"));
        for kind in ["matrix", "sandbox", "sandbox", "alert", "summary"] {
            let line = format!(r#"{{"kind":"{kind}","event":{{"kind":"process.exec"}}}}"#);
            assert_eq!(fired(&mut recorded, &line), Vec::<String>::new());
        }
        let words = recorded.end("events").expect("all are JSON").concat();
        assert!(words.starts_with("events: 5 lines") && words.contains("2 sandbox"), "{words}");
        let event = events().remove(0);
        for (line, mend) in [
            (View::Ecs.render(&event).to_string(), "ECS form"),
            (View::Ocsf.render(&event).to_string(), "OCSF form"),
            (r#"{"kind":"process.dance"}"#.into(), "process.dance"),
            (r#"{"kind":"process.exec"}"#.into(), "outcome"),
            ("{}".into(), "logsource"),
        ] {
            let refused = recorded.line(1, line.as_bytes(), false).err();
            let refused = refused.map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(refused.contains(mend), "{line}: {refused:?}");
        }
    }

    #[test]
    fn half_lines_are_counted_where_other_lines_are_json_and_refused_by_place_where_none_is() {
        let mut library = load_texts([Source { file: "rules.yml", text: RULES }]);
        let image = library.image().expect("few rules");
        let image = Image::open(&image).expect("compiled here");
        let whole = View::Native.render(&events().remove(0).with(Field::CommandLine, "sh -c evil \u{e9}")).to_string();
        let read = |lines: &[&[u8]]| {
            let mut recorded = Recorded::new(image);
            let mut hits = 0;
            for (number, line) in (1_u64..).zip(lines) {
                hits += recorded.line(number, line, false).expect("passed over or an event").len();
            }
            (hits, recorded.end("events").map(|words| words.join("\n")).map_err(|error| format!("{error:#}")))
        };
        let glued = [&whole.as_bytes()[..20], whole.as_bytes()].concat();
        for at in 1..whole.len() {
            let half = &whole.as_bytes()[..at];
            let (hits, words) = read(&[whole.as_bytes(), half, b"", &glued, whole.as_bytes(), half]);
            let words = words.expect("two are whole");
            assert_eq!(hits, 4, "two rules on each of the two whole lines");
            assert!(words.contains("3 lines passed over") && words.contains("3 unreadable"), "{words}");
            assert!(words.contains("\nevents:2: the first line that is unreadable"), "{words}");
        }
        let (_, words) = read(&[b"", b"root:x:0:0", b"{"]);
        assert!(words.is_err_and(|words| words.starts_with("events:2: ")), "no recording");
        assert_eq!(read(&[b"", b" \r"]), (0, Ok(String::new())));
    }
}
