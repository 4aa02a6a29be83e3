//! Makes records of what `watertight run -o json` writes: alerts, crashes of workers, and deaths of the detector that its content is
//! blamed for. The lines hold what strangers chose; nothing of them is believed, and everything is cut to its bound.

use serde_json::Value as Json;
use watertight_fleet_wire::limits::{EVENT_BYTES_MAX, ID_BYTES_MAX, TEXT_BYTES_MAX};
use watertight_fleet_wire::records::{Alert, Body, Crash, Health, Outcome, Stream};

/// The gate's name for it.
const ENGINE_CRASH: &str = "engine_crash";

/// Reads lines in their order.
#[derive(Debug, Default)]
pub struct Intake {
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
    /// A line of the run's; `None` for what is not reported: ordinary events are not.
    pub fn take(&mut self, line: &[u8]) -> Option<Made> {
        let line: Json = serde_json::from_slice(line).ok()?;
        match line.get("kind")?.as_str()? {
            "content" => {
                let id = text(&line, "/id", ID_BYTES_MAX);
                self.content_before = std::mem::replace(&mut self.content, id);
                None
            }
            "alert" => Some(self.alert(&line)),
            "sensor.crash" => Some(crash(&line, "", true)),
            "host.crash" => Some(crash(&line, "kernel", false)),
            "sensor.gap" if text(&line, "/of", ID_BYTES_MAX) == "detector" => Some(self.death(&line)),
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
        intake.take(line.to_string().as_bytes())
    }

    #[test]
    fn an_alert_is_told_with_its_rule_event_and_content() {
        let mut intake = Intake::default();
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
        let mut intake = Intake::default();
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
            let Made { stream, body, .. } = take(&mut Intake::default(), line).expect("a record");
            let records = vec![Record { sequence: 1, at_ms: 1, body: Some(body) }];
            let batch = Batch { boot: "b".into(), stream: stream as i32, records, dropped: 0 };
            assert_eq!(batch.out_of_bounds(), None);
        }
        for line in ["", "{", "[]", "{\"kind\":7}", "{\"kind\":\"process.exec\"}", "\u{0}"] {
            assert_eq!(Intake::default().take(line.as_bytes()), None, "{line:?}");
        }
    }
}
