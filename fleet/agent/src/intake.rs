//! Makes records of what `watertight run -o json` writes: alerts, crashes of workers, deaths of the detector that its content is blamed
//! for, and thresholds that were crossed while it ran. The lines hold what strangers chose; nothing of them is believed, and everything is cut to its bound.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use watertight_fleet_wire::limits::{EVENT_BYTES_MAX, ID_BYTES_MAX, TEXT_BYTES_MAX};
use watertight_fleet_wire::records::{Alert, Body, Crash, Health, Outcome, Stream};

use crate::measure::{usage_of, Crossed, Measures, Usage};

/// The gate's name for it.
pub(crate) const ENGINE_CRASH: &str = "engine_crash";
/// The worker whose processor time is the engine's.
const ENGINE: &str = "detector";
/// Workers of a run.
const WORKERS_MAX: usize = 8;

/// Reads lines in their order.
#[derive(Debug)]
pub struct Intake {
    measures: Measures,
    /// Processes of the run's workers, by name.
    workers: BTreeMap<String, u32>,
    /// The content that the last line of that kind says is in force, and the one of the line before.
    content: String,
    content_before: String,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Where it belongs.
    pub stream: Stream,
    /// What it is.
    pub body: Body,
    /// It is to be on disk at once.
    pub is_urgent: bool,
}

impl Intake {
    /// From now on.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            measures: Measures::new(now_ms),
            workers: BTreeMap::new(),
            content: String::new(),
            content_before: String::new(),
        }
    }

    /// A line of the run's; nothing for what is not reported: ordinary events are not.
    pub fn take(&mut self, line: &[u8], now_ms: u64) -> Vec<Made> {
        let Ok(line) = serde_json::from_slice::<Json>(line) else { return Vec::new() };
        let Some(kind) = line.get("kind").and_then(Json::as_str) else { return Vec::new() };
        let made = self.record(kind, &line, now_ms);
        let crossed = self.measures.line(kind, &line, now_ms);
        made.into_iter().chain(crossed.map(|crossed| self.crossed(crossed))).collect()
    }

    /// Looks at what the run's processes use: every half a minute or so.
    pub fn look(&mut self, now_ms: u64) -> Option<Made> {
        self.look_at(now_ms, usage_of)
    }

    fn look_at(&mut self, now_ms: u64, usage_of: impl Fn(u32) -> Option<Usage>) -> Option<Made> {
        let mut all = Usage::default();
        for (worker, pid) in &self.workers {
            let Some(used) = usage_of(*pid) else { continue };
            all.memory_kib = all.memory_kib.saturating_add(used.memory_kib);
            if worker == ENGINE {
                all.cpu_ms = used.cpu_ms;
            }
        }
        let crossed = self.measures.used(all, now_ms)?;
        Some(self.crossed(crossed))
    }

    fn crossed(&self, Crossed { metric, why }: Crossed) -> Made {
        let metric = serde_json::to_value(metric).ok().and_then(|name| name.as_str().map(str::to_owned));
        let health = Health {
            content: self.content.clone(),
            outcome: Outcome::Crossed as i32,
            watched_ms: 0,
            metric: metric.unwrap_or_default(),
            why,
        };
        Made { stream: Stream::Health, body: Body::Health(health), is_urgent: true }
    }

    fn record(&mut self, kind: &str, line: &Json, now_ms: u64) -> Option<Made> {
        match kind {
            "content" => {
                let id = text(line, "/id", ID_BYTES_MAX);
                if id != self.content {
                    self.measures.content_changed(now_ms);
                }
                self.content_before = std::mem::replace(&mut self.content, id);
                None
            }
            "sandbox" => {
                let pid = line.get("pid").and_then(Json::as_u64).and_then(|pid| u32::try_from(pid).ok())?;
                let worker = text(line, "/worker", ID_BYTES_MAX);
                if self.workers.len() < WORKERS_MAX || self.workers.contains_key(&worker) {
                    self.workers.insert(worker, pid);
                }
                None
            }
            "alert" => Some(self.alert(line)),
            "sensor.crash" => Some(crash(line, "", true)),
            "host.crash" => Some(crash(line, "kernel", false)),
            "sensor.gap" if text(line, "/of", ID_BYTES_MAX) == "detector" => Some(self.death(line)),
            _ => None,
        }
    }

    fn alert(&self, line: &Json) -> Made {
        let event = line.get("event").map(Json::to_string).unwrap_or_default();
        // Half a JSON text is none: what is too large is told by its kind alone.
        let kind = || serde_json::json!({ "kind": line.pointer("/event/kind"), "is_cut": true }).to_string();
        let alert = Alert {
            rule: text(line, "/rule/id", ID_BYTES_MAX),
            title: text(line, "/rule/title", TEXT_BYTES_MAX),
            level: text(line, "/rule/level", ID_BYTES_MAX),
            event_json: if event.len() > EVENT_BYTES_MAX { cut(&kind(), EVENT_BYTES_MAX) } else { event },
            content: self.content.clone(),
        };
        Made { stream: Stream::Alert, body: Body::Alert(alert), is_urgent: false }
    }

    /// The line that says which content the next detector has comes before the event that tells of the death.
    fn death(&self, line: &Json) -> Made {
        let health = Health {
            content: self.content_before.clone(),
            outcome: Outcome::Crossed as i32,
            watched_ms: 0,
            metric: ENGINE_CRASH.to_owned(),
            why: text(line, "/message", TEXT_BYTES_MAX),
        };
        Made { stream: Stream::Health, body: Body::Health(health), is_urgent: true }
    }
}

fn crash(line: &Json, worker: &str, is_ours: bool) -> Made {
    let worker = if worker.is_empty() { text(line, "/of", ID_BYTES_MAX) } else { worker.to_owned() };
    let bucket = text(line, "/crash/bucket", ID_BYTES_MAX);
    let title = match text(line, "/crash/title", TEXT_BYTES_MAX) {
        title if title.is_empty() => text(line, "/message", TEXT_BYTES_MAX),
        title => title,
    };
    let crash = Crash {
        // What triage could not tell apart is one bucket for each worker.
        bucket: if bucket.is_empty() { cut(&format!("untold-{worker}"), ID_BYTES_MAX) } else { bucket },
        title,
        is_ours,
        content: text(line, "/content/id", ID_BYTES_MAX),
        rule: text(line, "/content/rule", ID_BYTES_MAX),
        worker,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Made { stream: Stream::Crash, body: Body::Crash(crash), is_urgent: true }
}

fn text(line: &Json, place: &str, bytes_max: usize) -> String {
    cut(line.pointer(place).and_then(Json::as_str).unwrap_or_default(), bytes_max)
}

/// At most so many bytes, and whole characters.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watertight_fleet_wire::records::{Batch, Record};

    use super::*;

    fn take(intake: &mut Intake, line: Json) -> Option<Made> {
        let mut made = intake.take(line.to_string().as_bytes(), 1);
        assert!(made.len() <= 1, "{made:?}");
        made.pop()
    }

    #[test]
    fn an_alert_is_told_with_its_rule_event_and_content() {
        let mut intake = Intake::new(0);
        assert_eq!(take(&mut intake, json!({ "kind": "content", "id": "c1" })), None);
        let line = json!({
            "kind": "alert", "rule": { "id": "r", "title": "t", "level": "high" }, "event": { "kind": "process.exec" }
        });
        let Some(Made { stream: Stream::Alert, body: Body::Alert(alert), .. }) = take(&mut intake, line) else {
            panic!("no alert")
        };
        assert_eq!((alert.rule.as_str(), alert.level.as_str(), alert.content.as_str()), ("r", "high", "c1"));
        assert_eq!(alert.event_json, r#"{"kind":"process.exec"}"#);
    }

    #[test]
    fn the_content_that_is_blamed_is_the_one_that_ran_and_not_the_one_after() {
        let mut intake = Intake::new(0);
        take(&mut intake, json!({ "kind": "content", "id": "killer" }));
        take(&mut intake, json!({ "kind": "content", "id": "good" }));
        let gap = json!({ "kind": "sensor.gap", "of": "detector", "message": "it died" });
        let Some(Made { body: Body::Health(health), is_urgent, .. }) = take(&mut intake, gap) else {
            panic!("no word of the death")
        };
        assert_eq!((health.content.as_str(), health.metric.as_str(), is_urgent), ("killer", ENGINE_CRASH, true));
        assert_eq!(take(&mut intake, json!({ "kind": "sensor.gap", "of": "sources", "message": "m" })), None);
    }

    #[test]
    fn a_threshold_that_is_crossed_is_told_with_the_content_that_ran() {
        let mut intake = Intake::new(0);
        take(&mut intake, json!({ "kind": "content", "id": "c1" }));
        take(&mut intake, json!({ "kind": "sandbox", "worker": "detector", "pid": 7 }));
        let told = |made: Option<Made>| match made {
            Some(Made { stream: Stream::Health, body: Body::Health(health), is_urgent: true }) => {
                (health.content, health.metric, Outcome::try_from(health.outcome) == Ok(Outcome::Crossed))
            }
            other => panic!("{other:?}"),
        };
        let lost = take(&mut intake, json!({ "kind": "sensor.loss", "of": "ring_file", "count": 3 }));
        assert_eq!(told(lost), ("c1".into(), "dropped_events".into(), true));
        let heavy = |pid| (pid == 7).then_some(Usage { cpu_ms: 0, memory_kib: 1 << 20 });
        assert_eq!(told(intake.look_at(2, heavy)), ("c1".into(), "budget".into(), true));
        take(&mut intake, json!({ "kind": "content", "id": "c2" }));
        assert_eq!(told(intake.look_at(3, heavy)), ("c2".into(), "budget".into(), true));
        assert_eq!(intake.look_at(4, |_| None), None, "a process that is gone uses nothing");
    }

    #[test]
    fn a_crash_of_the_machine_is_told_with_the_content_that_was_at_work_then_and_not_the_one_that_is_now() {
        let mut intake = Intake::new(0);
        take(&mut intake, json!({ "kind": "content", "id": "factory" }));
        let line = json!({ "kind": "host.crash", "crash": { "bucket": "b" }, "content": { "id": "killer" } });
        let Some(Made { body: Body::Crash(crash), .. }) = take(&mut intake, line) else { panic!("no crash") };
        assert_eq!((crash.content.as_str(), crash.worker.as_str(), crash.is_ours), ("killer", "kernel", false));
    }

    #[test]
    fn whatever_a_line_holds_its_record_is_within_bounds() {
        let long = "\u{20ac}".repeat(40_000);
        let lines = [
            json!({ "kind": "alert", "rule": { "id": long, "title": long, "level": long }, "event": { "kind": long, "x": long } }),
            json!({ "kind": "sensor.crash", "of": long, "crash": { "title": long, "bucket": long }, "content": { "id": long } }),
            json!({ "kind": "sensor.crash", "of": 7 }),
            json!({ "kind": "host.crash", "message": long }),
            json!({ "kind": "sensor.gap", "of": "detector", "message": long }),
            json!({ "kind": "alert" }),
        ];
        for line in lines {
            let Made { stream, body, .. } = take(&mut Intake::new(0), line).expect("a record");
            let records = vec![Record { sequence: 1, at_ms: 1, body: Some(body) }];
            let batch = Batch { boot: "b".into(), stream: stream as i32, records, dropped: 0 };
            assert_eq!(batch.out_of_bounds(), None);
        }
        for line in ["", "{", "[]", "{\"kind\":7}", "{\"kind\":\"process.exec\"}", "\u{0}"] {
            assert_eq!(Intake::new(0).take(line.as_bytes(), 1), [], "{line:?}");
        }
    }
}
