//! Where what a host goes through becomes an event for the gate: a threshold is crossed while some content runs. The thresholds are the
//! gate's (`Thresholds` of `watertight-fleet`), and every host is held to them, whether it has the content of a rollout or not.
//!
//! A crossing that goes on is told again after five minutes, because a host knows of no rollout and the first event since its start
//! is what counts; the server takes one a host, metric and content. What belongs to five minutes begins anew with other content: what
//! came before is not its doing. The day is kept in memory: an agent that has just begun judges alerts and blocked programs after an hour.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use watertight_fleet::gate::{Metric, Thresholds};

/// The window of all thresholds.
const WINDOW_MS: u64 = 300_000;
/// A window is so many slots, a day so many windows.
const SLOTS_IN_WINDOW: u64 = 10;
const SLOT_MS: u64 = WINDOW_MS / SLOTS_IN_WINDOW;
const DAY_MS: u64 = 24 * 3_600_000;
/// A host's own rate is known after this.
const KNOWN_AFTER_MS: u64 = 3_600_000;
/// The rate of a host without alerts, in a window: eleven in five minutes are many on any host.
const RATE_MIN: f64 = 1.0;
/// Programs that were blocked within a day and are remembered; with more nothing new is known to be new.
const BLOCKED_MAX: usize = 4_096;
/// Bytes of what names one of them.
const NAME_BYTES_MAX: usize = 512;

/// A threshold was crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// In what.
    pub metric: Metric,
    /// By how much, in words.
    pub why: String,
}

/// What processes of ours use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of the engine so far.
    pub cpu_ms: u64,
    /// Memory that is in use of all, beside the files that they share.
    pub memory_kib: u64,
}

/// Counts of the last day, by slots of time.
#[derive(Debug, Default)]
struct Counts {
    /// Slot number and count, the oldest first; slots without any are not there.
    slots: std::collections::VecDeque<(u64, u64)>,
}

/// What was measured.
#[derive(Debug)]
pub struct Measures {
    thresholds: Thresholds,
    begun_ms: u64,
    content_ms: u64,
    dropped: Counts,
    alerts: Counts,
    blocked: BTreeMap<String, u64>,
    new_blocked: Counts,
    used: std::collections::VecDeque<(u64, u64)>,
    told: BTreeMap<Metric, u64>,
}

impl Measures {
    /// From now on.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            thresholds: Thresholds::default(),
            begun_ms: now_ms,
            content_ms: now_ms,
            dropped: Counts::default(),
            alerts: Counts::default(),
            blocked: BTreeMap::new(),
            new_blocked: Counts::default(),
            used: std::collections::VecDeque::new(),
            told: BTreeMap::new(),
        }
    }

    /// Other content runs now.
    pub fn content_changed(&mut self, now_ms: u64) {
        self.content_ms = now_ms;
        (self.dropped, self.new_blocked) = (Counts::default(), Counts::default());
        self.used.clear();
        self.told.clear();
    }

    /// A line of the run's.
    pub fn line(&mut self, kind: &str, line: &Json, now_ms: u64) -> Option<Crossed> {
        match kind {
            "alert" => self.alert(now_ms),
            "sensor.loss" | "sensor.overflow" => {
                // A source that does not know how many says that some were.
                let count = line.get("count").and_then(Json::as_u64).unwrap_or(1).max(1);
                self.dropped.add(now_ms, count);
                let dropped = self.dropped.since(now_ms.saturating_sub(WINDOW_MS));
                let is_over = dropped > self.thresholds.dropped_events_max;
                self.crossed(is_over, Metric::DroppedEvents, now_ms, || {
                    format!("{dropped} events were dropped within five minutes")
                })
            }
            "sensor.gap" if line.get("of").and_then(Json::as_str) == Some("kernel programs") => {
                let why = || "kernel programs were taken off their hooks".to_owned();
                self.crossed(true, Metric::SensorDetach, now_ms, why)
            }
            "policy.denied" if is_exec(line) => self.denied(line, now_ms),
            _ => None,
        }
    }

    /// What our processes use, looked at every half a minute or so.
    pub fn used(&mut self, usage: Usage, now_ms: u64) -> Option<Crossed> {
        let memory_mib = usage.memory_kib / 1024;
        if memory_mib > self.thresholds.rss_mib_max {
            let why = || format!("{memory_mib} MiB of memory in use");
            return self.crossed(true, Metric::Budget, now_ms, why);
        }
        // A process that was started anew counts from zero.
        if self.used.back().is_some_and(|(_, cpu_ms)| *cpu_ms > usage.cpu_ms) {
            self.used.clear();
        }
        self.used.push_back((now_ms, usage.cpu_ms));
        let from = now_ms.saturating_sub(WINDOW_MS);
        // The first look that is a window old stays: the window is measured from it.
        while self.used.get(1).is_some_and(|(at_ms, _)| *at_ms <= from) {
            self.used.pop_front();
        }
        let (at_ms, cpu_ms) = *self.used.front()?;
        let passed_ms = now_ms.saturating_sub(at_ms);
        let percent = usage.cpu_ms.saturating_sub(cpu_ms) as f64 * 100.0 / passed_ms.max(1) as f64;
        let is_over = passed_ms >= WINDOW_MS && percent > self.thresholds.cpu_percent_max;
        self.crossed(is_over, Metric::Budget, now_ms, || {
            format!("the engine used {percent:.0} % of a processor over {} s", passed_ms / 1_000)
        })
    }

    fn alert(&mut self, now_ms: u64) -> Option<Crossed> {
        self.alerts.add(now_ms, 1);
        let from = now_ms.saturating_sub(WINDOW_MS).max(self.content_ms);
        let recent = self.alerts.since(from);
        let known_ms = from.saturating_sub(self.begun_ms).min(DAY_MS);
        let before = self.alerts.since(now_ms.saturating_sub(DAY_MS)).saturating_sub(recent);
        let usual = (before as f64 * WINDOW_MS as f64 / known_ms.max(1) as f64).max(RATE_MIN);
        let is_over = known_ms >= KNOWN_AFTER_MS && recent as f64 > usual * self.thresholds.alerts_x_max;
        self.crossed(is_over, Metric::Alerts, now_ms, || {
            format!("{recent} alerts within five minutes; {usual:.1} were usual")
        })
    }

    fn denied(&mut self, line: &Json, now_ms: u64) -> Option<Crossed> {
        let place = line.pointer("/file/path").and_then(Json::as_str).map(str::to_owned);
        let file = || format!("{:?}:{:?}", line.pointer("/file/dev"), line.pointer("/file/inode"));
        let name: String = place.unwrap_or_else(file).chars().take(NAME_BYTES_MAX / 4).collect();
        let day_ago = now_ms.saturating_sub(DAY_MS);
        if self.blocked.len() >= BLOCKED_MAX {
            self.blocked.retain(|_, last_ms| *last_ms >= day_ago);
        }
        let is_known = self.blocked.get(&name).is_some_and(|last_ms| *last_ms >= day_ago);
        let has_room = self.blocked.len() < BLOCKED_MAX;
        if is_known || has_room {
            self.blocked.insert(name, now_ms);
        }
        // Nothing is known of the day before an agent that has just begun.
        if is_known || !has_room || now_ms.saturating_sub(self.begun_ms) < KNOWN_AFTER_MS {
            return None;
        }
        self.new_blocked.add(now_ms, 1);
        let blocked = self.new_blocked.since(now_ms.saturating_sub(WINDOW_MS));
        let is_over = blocked > self.thresholds.blocked_execs_max;
        self.crossed(is_over, Metric::BlockedExecs, now_ms, || {
            format!("{blocked} programs were blocked within five minutes that were not the day before")
        })
    }

    fn crossed(&mut self, is_over: bool, metric: Metric, now_ms: u64, why: impl Fn() -> String) -> Option<Crossed> {
        let is_told = self.told.get(&metric).is_some_and(|told_ms| now_ms.saturating_sub(*told_ms) < WINDOW_MS);
        if !is_over || is_told {
            return None;
        }
        self.told.insert(metric, now_ms);
        Some(Crossed { metric, why: why() })
    }
}

impl Counts {
    fn add(&mut self, now_ms: u64, count: u64) {
        let slot = now_ms / SLOT_MS;
        let oldest = now_ms.saturating_sub(DAY_MS) / SLOT_MS;
        while self.slots.front().is_some_and(|(at, _)| *at < oldest) {
            self.slots.pop_front();
        }
        match self.slots.back_mut() {
            // Also where the clock was set back: the order stays.
            Some((at, counted)) if *at >= slot => *counted = counted.saturating_add(count),
            _ => self.slots.push_back((slot, count)),
        }
    }

    fn since(&self, from_ms: u64) -> u64 {
        let from = from_ms / SLOT_MS;
        let recent = self.slots.iter().rev().take_while(|(at, _)| *at >= from);
        recent.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

fn is_exec(line: &Json) -> bool {
    let operations = line.get("operations").and_then(Json::as_array);
    operations.is_some_and(|all| all.iter().any(|operation| operation == "exec"))
}

/// What a process uses, if it is there: `proc(5)`, `stat` fields 14 and 15 in hundredths of a second (`USER_HZ`, 100 on Linux for every
/// program), `status` for memory that is its own.
#[must_use]
pub fn usage_of(pid: u32) -> Option<Usage> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    usage(&read("stat")?, &read("status")?)
}

fn usage(stat: &str, status: &str) -> Option<Usage> {
    // The name in brackets may hold anything, a bracket too.
    let (_, behind) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = behind.split(' ').collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let cpu_ms = ticks(11)?.saturating_add(ticks(12)?).saturating_mul(10);
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let own = ["RssAnon", "RssShmem"].into_iter().filter_map(kib).fold(0, u64::saturating_add);
    Some(Usage { cpu_ms, memory_kib: own })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn metric(crossed: Option<Crossed>) -> Option<Metric> {
        crossed.map(|crossed| crossed.metric)
    }

    #[test]
    fn dropped_events_are_told_once_in_five_minutes_and_anew_with_other_content() {
        let mut measures = Measures::new(0);
        let lost = json!({ "of": "ring", "count": 7 });
        assert_eq!(metric(measures.line("sensor.loss", &lost, 1_000)), Some(Metric::DroppedEvents));
        assert_eq!(measures.line("sensor.overflow", &json!({}), 2_000), None, "it was told");
        assert_eq!(metric(measures.line("sensor.overflow", &json!({}), 301_000)), Some(Metric::DroppedEvents));
        measures.content_changed(302_000);
        let again = measures.line("sensor.loss", &lost, 303_000).expect("a crossing");
        assert!(again.why.starts_with("7 events"), "what was dropped before is not this content's: {}", again.why);
        assert_eq!(measures.line("sensor.gap", &json!({ "of": "loader" }), 304_000), None);
        let gone = measures.line("sensor.gap", &json!({ "of": "kernel programs" }), 305_000);
        assert_eq!(metric(gone), Some(Metric::SensorDetach));
    }

    /// Alerts of a day, one every so often, and then so many within four minutes of other content.
    fn flood(every_ms: u64, count: u64) -> Option<Metric> {
        let mut measures = Measures::new(0);
        for at_ms in (0..DAY_MS).step_by(usize::try_from(every_ms).expect("small")) {
            assert_eq!(measures.line("alert", &Json::Null, at_ms), None, "{at_ms}");
        }
        measures.content_changed(DAY_MS);
        (1..=count).find_map(|place| metric(measures.line("alert", &Json::Null, DAY_MS + place * 240_000 / count)))
    }

    #[test]
    fn ten_times_the_alerts_that_are_usual_on_a_host_are_many_there() {
        assert_eq!(flood(HOUR_MS, 9), None);
        assert_eq!(flood(HOUR_MS, 12), Some(Metric::Alerts));
        assert_eq!(flood(10_000, 280), None, "thirty in five minutes are usual there");
        assert_eq!(flood(10_000, 400), Some(Metric::Alerts));
        let mut new = Measures::new(0);
        assert!(
            (0..999).all(|at_ms| new.line("alert", &Json::Null, at_ms).is_none()),
            "what is usual is not known yet"
        );
    }

    #[test]
    fn a_program_that_was_blocked_the_day_before_is_no_news() {
        let mut measures = Measures::new(0);
        let denied = |path: &str| json!({ "operations": ["exec"], "file": { "path": path } });
        assert_eq!(measures.line("policy.denied", &denied("/old"), 1), None, "nothing is known of the day before");
        assert_eq!(measures.line("policy.denied", &denied("/old"), 2 * HOUR_MS), None);
        let opened = json!({ "operations": ["open_write"], "file": { "path": "/new" } });
        assert_eq!(measures.line("policy.denied", &opened, 2 * HOUR_MS), None, "that is no program");
        assert_eq!(metric(measures.line("policy.denied", &denied("/new"), 2 * HOUR_MS)), Some(Metric::BlockedExecs));
        assert_eq!(measures.line("policy.denied", &denied("/new"), 3 * HOUR_MS), None);
        assert_eq!(metric(measures.line("policy.denied", &denied("/new"), 28 * HOUR_MS)), Some(Metric::BlockedExecs));
    }

    #[test]
    fn memory_of_strangers_choice_is_bounded() {
        let mut measures = Measures::new(0);
        for number in 0..BLOCKED_MAX as u64 + 100 {
            let denied =
                json!({ "operations": ["exec"], "file": { "path": format!("{number}{}", "x".repeat(9_999)) } });
            measures.line("policy.denied", &denied, 2 * HOUR_MS + number);
        }
        assert!(measures.blocked.len() <= BLOCKED_MAX);
        assert!(measures.blocked.keys().all(|name| name.len() <= NAME_BYTES_MAX));
        (0..10_000).for_each(|at| measures.alerts.add(at * SLOT_MS, 1));
        assert!(measures.alerts.slots.len() <= 2_881);
    }

    #[test]
    fn a_processor_that_is_busy_for_five_minutes_and_memory_beyond_the_budget_are_told() {
        let looks = |share: u64| {
            let mut measures = Measures::new(0);
            let look =
                |place: u64| (place * 30_000, Usage { cpu_ms: place * 30_000 * share / 100, memory_kib: 40_000 });
            (0..=10)
                .map(look)
                .find_map(|(at_ms, usage)| measures.used(usage, at_ms).map(|crossed| (at_ms, crossed.metric)))
        };
        assert_eq!(looks(19), None);
        assert_eq!(looks(30), Some((300_000, Metric::Budget)), "not sooner than after five minutes");
        let mut measures = Measures::new(0);
        let heavy = Usage { cpu_ms: 0, memory_kib: 300 * 1024 };
        assert_eq!(metric(measures.used(heavy, 1)), Some(Metric::Budget));
        assert_eq!(measures.used(heavy, 2), None, "it was told");
        let mut anew = Measures::new(0);
        anew.used(Usage { cpu_ms: 9_000_000, memory_kib: 0 }, 0);
        assert_eq!(anew.used(Usage { cpu_ms: 0, memory_kib: 0 }, 400_000), None, "a process that was started anew");
    }

    #[test]
    fn what_a_process_uses_is_read_whatever_its_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        let status = "Name:\ta\nVmRSS:\t  9000 kB\nRssAnon:\t    1200 kB\nRssFile:\t 7000 kB\nRssShmem:\t 800 kB\n";
        assert_eq!(usage(stat, status), Some(Usage { cpu_ms: 3_000, memory_kib: 2_000 }));
        assert_eq!(usage("", status), None);
        assert!(usage_of(std::process::id()).is_some_and(|usage| usage.memory_kib > 0));
    }
}
