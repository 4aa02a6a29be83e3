//! No memory is allocated on the way of an event once the working memory has its size: not while rules match, and not in correlations
//! and sequences, whose tables are reserved when they are made. Memory that has to be found per event is memory that can be missing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{json, Value as Json};
use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_engine::{Correlator, HashKey, Image, LogSource, Moment, Plan, Scratch};

const SECOND_NS: u64 = 1_000_000_000;

/// Events of a round; those of the first may still make room.
const EVENTS: u64 = 3_000;

/// The system's allocator, and how often it was asked for memory.
struct Counting(AtomicU64);

#[global_allocator]
static COUNTING: Counting = Counting(AtomicU64::new(0));

// SAFETY: every call is handed to the system's allocator as it came; only a number is kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: it came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Questions of every kind, and a correlation of every kind that stands on them.
const RULES: &str = r"
title: a
name: a
id: ia
logsource: {category: c}
detection:
  s: {kind: a}
  text: {text|contains|all: [evil, 'b*d']}
  other: {text|re: 'x[0-9]+y', number|gte: 3, address|cidr: 10.0.0.0/8, same|fieldref: text, gone|exists: false}
  condition: s or text or other
---
title: b
name: b
id: ib
logsource: {category: c}
detection: {s: {kind: b}, words: ['needle'], condition: s or words}
---
title: inner
name: inner
id: inner
correlation: {type: temporal_ordered, rules: [a, b], group-by: [group], timespan: 5s}
---
title: count
id: c0
correlation: {type: event_count, rules: [a, b], group-by: [group], timespan: 1m, condition: {gte: 4}, state: 64KB}
---
title: at the end
id: c1
correlation: {type: event_count, rules: a, group-by: [group], timespan: 9s, condition: {lt: 3}, state: 64KB}
---
title: values
id: c2
correlation: {type: value_count, rules: a, group-by: [group], timespan: 1m, condition: {gte: 3, field: text}, state: 64KB}
---
title: sum
id: c3
correlation: {type: value_sum, rules: a, group-by: [group], timespan: 1m, condition: {gt: 20, field: number}, state: 64KB}
---
title: together
id: c4
correlation: {type: temporal, rules: [a, b], group-by: [group], timespan: 20s, state: 64KB}
---
title: chain
id: c5
correlation: {type: event_count, rules: inner, group-by: [group], timespan: 1m, condition: {gte: 2}, state: 64KB}
---
title: sequence
id: c6
correlation:
  type: temporal_ordered
  timespan: 30s
  state: 64KB
  stages:
    - {name: x, logsource: {category: c}, detection: {s: {kind: a}, condition: s}}
    - {name: y, logsource: {category: c}, detection: {s: {kind: b}, condition: s}, where: {same|fieldref: x.text}}
---
title: absent
id: c7
correlation:
  type: temporal_ordered
  timespan: 30s
  state: 64KB
  group-by: [group]
  stages:
    - {name: x, logsource: {category: c}, detection: {s: {kind: a}, condition: s}}
    - {name: y, logsource: {category: c}, detection: {s: {kind: b}, condition: s}, absent: 4s}
";

fn event(number: u64) -> Json {
    let text = ["evil and bd", "x77y", "ſtraße \u{212a}", "needle", "nothing"][(number % 5) as usize];
    let kind = ["a", "b", "c"][(number / 7 % 3) as usize];
    let same = ["x77y", "evil and bd"][(number % 2) as usize];
    let group = format!("g{}", number * 31 % 97);
    json!({
        "kind": kind, "group": group, "text": text, "number": number % 9, "address": "10.1.2.3", "same": same,
    })
}

/// Every event through rules and correlations; how often something fired.
fn round(
    plan: &Plan<'_>,
    events: &[JsonEvent],
    from: u64,
    scratch: &mut Scratch,
    found: &mut Vec<u32>,
    correlator: &mut Correlator<'_>,
) -> u64 {
    let mut hits = 0;
    for (number, event) in (from..).zip(events) {
        // A few come before their turn, so that some wait.
        let moment = Moment { time_ns: number * SECOND_NS / 10 - (number % 3) * SECOND_NS / 20, number };
        found.clear();
        plan.evaluate(event, scratch, &mut |rule| found.push(rule));
        for rule in found.iter() {
            correlator.on_hit(*rule, event, moment, &mut |_| hits += 1);
        }
        correlator.advance(moment.time_ns.saturating_sub(SECOND_NS), &mut |_| hits += 1);
    }
    hits
}

/// One test, so that nothing else is allocated beside it.
#[test]
fn an_event_takes_no_memory_in_rules_or_correlations_once_there_is_room_for_it() {
    let mut library = load_texts([Source { file: "rules.yml", text: RULES }]);
    let image = library.image().expect("few rules");
    assert!(library.rejections.is_empty(), "{}", library.rejections[0]);
    let image = Image::open(&image).expect("compiled here");
    let slots = Slots::of(&image);
    let events: Vec<JsonEvent> = (0..EVENTS).map(|number| JsonEvent::new(&event(number), &slots)).collect();
    let plan = image.plan(&LogSource { category: Some("c"), product: None, service: None });
    let (mut scratch, mut found) = (Scratch::new(), Vec::with_capacity(64));
    let before = COUNTING.0.load(Ordering::Relaxed);
    let mut correlator = image.correlator(HashKey([3, 4]));
    assert!(COUNTING.0.load(Ordering::Relaxed) > before, "the count works");
    let first = round(&plan, &events, 100, &mut scratch, &mut found, &mut correlator);
    let before = COUNTING.0.load(Ordering::Relaxed);
    let second = round(&plan, &events, 100 + EVENTS, &mut scratch, &mut found, &mut correlator);
    let allocated = COUNTING.0.load(Ordering::Relaxed) - before;
    assert!(first > 100 && second > 100, "much fires: {first}, {second}");
    assert_eq!(allocated, 0, "{EVENTS} events were not to take memory");
}
