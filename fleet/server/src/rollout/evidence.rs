//! What hosts deliver in records, as inputs of a rollout: crashes and health, each judged by the content that the record names.
//! And back: a decision that goes by a crash bucket, in the words by which people find that bucket.

use std::collections::BTreeMap;

use watertight_event::printable::distinct;
use watertight_fleet::gate::{Bucket, Crash, Decision, Event, Metric};
use watertight_fleet::rollout::{Input, Running};
use watertight_fleet::HostIndex;
use watertight_fleet_wire::records::{self, Body, Health, Outcome, Record};

/// A bucket's id, folded to the gate's.
#[must_use]
pub fn bucket(id: &str) -> Bucket {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
    Bucket(digest.as_ref().iter().take(8).fold(0, |folded, byte| folded << 8 | u64::from(*byte)))
}

/// Characters of a bucket's title in a sentence.
const TITLE_CHARS_MAX: usize = 200;

/// A bucket as operator API and status page have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    id: String,
    title: String,
}

/// Buckets of records that were heard and not decided on yet.
pub(super) type Names = BTreeMap<Bucket, Named>;

/// Keeps the name of a record's bucket: the gate goes by a number that leads nobody back.
pub(super) fn note(record: &Record, names: &mut Names) {
    if let Some(Body::Crash(crash)) = &record.body {
        let title = crash.title.chars().take(TITLE_CHARS_MAX).collect();
        names.insert(bucket(&crash.bucket), Named { id: crash.bucket.clone(), title });
    }
}

/// Says in a decision's sentence which bucket it goes by.
pub(super) fn name(mut decision: Decision, names: &Names) -> Decision {
    if let Some(Named { id, title }) = decision.evidence.bucket.and_then(|bucket| names.get(&bucket)) {
        decision.why = format!("{}: bucket {} ({})", decision.why, distinct(id), distinct(title));
    }
    decision
}

/// A decision as it is stored and told: its bucket by the id that people know.
///
/// # Errors
/// It has no JSON form.
pub(super) fn told(decision: &Decision, names: &Names) -> Result<serde_json::Value, serde_json::Error> {
    let mut told = serde_json::to_value(decision)?;
    let named = decision.evidence.bucket.and_then(|bucket| names.get(&bucket));
    if let (Some(evidence), Some(Named { id, title })) =
        (told.get_mut("evidence").and_then(serde_json::Value::as_object_mut), named)
    {
        evidence.insert("bucket".to_owned(), id.as_str().into());
        evidence.insert("bucket_title".to_owned(), title.as_str().into());
    }
    Ok(told)
}

/// The content that a record is about.
pub(super) fn content(record: &Record) -> Option<&str> {
    match &record.body {
        Some(Body::Crash(crash)) => Some(&crash.content),
        Some(Body::Health(health)) => Some(&health.content),
        _ => None,
    }
}

/// What a record of a host says to a rollout. `host` is its number there, if it is one of the rollout's.
pub(super) fn inputs(running: &Running, host: Option<HostIndex>, record: &Record, inputs: &mut Vec<Input>) {
    // Who tells is back: what it tells of, a machine that went down, is the very reason why it was away.
    if let Some(host) = host.filter(|host| running.is_away(*host)) {
        inputs.push(Input::Host { host, event: Event::Online });
    }
    match (&record.body, host) {
        (Some(Body::Crash(crash)), Some(host)) => {
            let event = crashed(running, host, crash);
            if !running.has_heard(host, event) {
                inputs.push(Input::Host { host, event });
            }
        }
        // A crash where the rollout is not is not its doing.
        (Some(Body::Crash(crash)), None) if crash.content != running.spec().content => {
            inputs.push(Input::Known { bucket: bucket(&crash.bucket) });
        }
        (Some(Body::Health(health)), Some(host)) => healthy(running, host, health, inputs),
        _ => {}
    }
}

fn crashed(running: &Running, host: HostIndex, crash: &records::Crash) -> Event {
    // A crash that names no content is one of what the host runs.
    let with_content = match crash.content.as_str() {
        "" => running.runs_it(host),
        content => content == running.spec().content,
    };
    let crash = Some(Crash { bucket: bucket(&crash.bucket), is_ours: crash.is_ours });
    Event::Failed { metric: Metric::EngineCrash, with_content, crash }
}

fn healthy(running: &Running, host: HostIndex, health: &Health, inputs: &mut Vec<Input>) {
    let with_content = health.content == running.spec().content;
    let mut tell = |event| inputs.push(Input::Host { host, event });
    let failed = |metric| Event::Failed { metric, with_content, crash: None };
    if let Some(metric) = metric(&health.metric).filter(|metric| !running.has_heard(host, failed(*metric))) {
        tell(failed(metric));
    }
    let outcome = Outcome::try_from(health.outcome).unwrap_or(Outcome::Unknown);
    match outcome {
        Outcome::Activated if with_content => tell(Event::Given),
        Outcome::Healthy if with_content => {
            tell(Event::Given);
            // The host's own trial may be shorter than the rollout's watch: then its check-in after the watch tells.
            if health.watched_ms >= running.spec().plan.policy.lane.watch_ms {
                tell(Event::Healthy);
            }
        }
        Outcome::FellBack if with_content => tell(Event::Left),
        Outcome::RefusedIt if with_content => {
            tell(failed(Metric::LoaderRefusal));
            tell(Event::Left);
        }
        _ => {}
    }
}

/// A metric by its name.
fn metric(name: &str) -> Option<Metric> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use watertight_fleet::gate::Rules;
    use watertight_fleet::plan::{Evidence, HostId, Lane, Policy, Schedule, Traits};
    use watertight_fleet::rollout::{Kin, Spec, Start};

    use super::*;

    #[test]
    fn every_metric_is_known_by_its_name_and_nothing_else_is_one() {
        for known in Metric::ALL {
            let name = serde_json::to_value(known).expect("a name");
            assert_eq!(metric(name.as_str().expect("a text")), Some(known));
        }
        assert_eq!(metric(""), None);
        assert_eq!(metric("EngineCrash"), None);
    }

    #[test]
    fn buckets_are_told_apart() {
        assert_eq!(bucket("a"), bucket("a"));
        assert_ne!(bucket("a"), bucket("b"));
    }

    /// A rollout to two dozen hosts, begun.
    fn begun() -> Running {
        let any = || "any".to_owned();
        let traits =
            Traits { kernel: any(), distribution: any(), architecture: any(), agent_version: any(), workload: any() };
        let hosts = (0..24).map(|number| (number, HostId(format!("h{number}")))).collect();
        let (name, ring) = ("early-any".to_owned(), "early".to_owned());
        let start = Start {
            content: "c".repeat(64),
            name: "linux".into(),
            version: 1,
            policy: Policy::of(Lane::STANDARD),
            rules: Rules::default(),
            evidence: Evidence::default(),
            known: Vec::new(),
            goes_on: false,
        };
        let kin = Kin { name, ring, schedule: Schedule::open(), traits, hosts };
        let mut running = Running::new(Spec::plan(start, vec![kin]).expect("a plan"));
        running.take(0, Input::Start);
        running
    }

    #[test]
    fn a_host_that_went_down_with_the_content_counts_though_it_was_silent_and_never_said_that_it_had_it() {
        let mut running = begun();
        let absent = Event::Failed { metric: Metric::Silence, with_content: false, crash: None };
        running.take(1, Input::Host { host: 3, event: absent });
        assert!(running.is_away(3));
        let health = Health {
            content: "c".repeat(64),
            outcome: Outcome::FellBack as i32,
            watched_ms: 0,
            metric: "engine_crash".into(),
            why: "it went down".into(),
        };
        let record = Record { sequence: 1, at_ms: 1, body: Some(Body::Health(health)) };
        let mut heard = Vec::new();
        inputs(&running, Some(3), &record, &mut heard);
        let failed = Event::Failed { metric: Metric::EngineCrash, with_content: true, crash: None };
        assert_eq!(heard, [Event::Online, failed, Event::Left].map(|event| Input::Host { host: 3, event }));
        for input in heard.drain(..) {
            assert_eq!(running.take(2, input), None);
        }
        assert!(!running.is_away(3));
        // Told again, it is no second failure.
        inputs(&running, Some(3), &record, &mut heard);
        assert_eq!(heard, [Input::Host { host: 3, event: Event::Left }]);
    }
}
