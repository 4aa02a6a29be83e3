//! An image that nobody compiled: whatever its bytes are, it is refused by name or evaluated like any other, without a panic and
//! to an end.

use serde_json::json;
use watertight_content::rule::LogSource;
use watertight_content::sigma::detect::Detector;
use watertight_content::sigma::{load_texts, Source};
use watertight_engine::image::layout::{Header, SectionRecord};
use watertight_engine::{Image, ImageError, Moment};

const RULES: &str = r"
title: Texts
id: 00000000-0000-4000-8000-000000000001
logsource: {category: c, product: p}
detection:
  words:
    Image|endswith: [/sh, /bash]
    CommandLine|contains|all: [curl, '| sh']
  wild:
    CommandLine: 'a*b?c'
  dashes:
    CommandLine|windash|contains: ' -enc'
  condition: words or wild or dashes
---
title: Others
id: 00000000-0000-4000-8000-000000000002
logsource: {category: c}
detection:
  expression:
    CommandLine|re: '(foo|bar)\d{2,4}\s'
  unbounded:
    CommandLine|re: '[a-z]{300}[^a]{300}x'
  number:
    Port|gte: 1024
  net:
    Ip|cidr: 10.0.0.0/8
  same:
    Image|fieldref|endswith: Name
  absent:
    Parent: null
  keywords:
    - evil
    - 'wo*rd'
  condition: (expression or unbounded or number or net or same or keywords) and not absent
---
title: Many
id: 00000000-0000-4000-8000-000000000003
correlation:
  type: event_count
  rules: [00000000-0000-4000-8000-000000000001, 00000000-0000-4000-8000-000000000002]
  group-by: [Image]
  timespan: 10s
  condition: {gte: 2}
  generate: true
  state: 4KB
---
title: Values
id: 00000000-0000-4000-8000-000000000004
correlation:
  type: value_count
  rules: 00000000-0000-4000-8000-000000000001
  timespan: 1ms
  condition: {lt: 9, field: Port}
  state: 4KB
---
title: Together
id: 00000000-0000-4000-8000-000000000005
correlation:
  type: temporal
  rules: [00000000-0000-4000-8000-000000000003, 00000000-0000-4000-8000-000000000002]
  timespan: 10s
  condition: 00000000-0000-4000-8000-000000000003 or not 00000000-0000-4000-8000-000000000002 and
    00000000-0000-4000-8000-000000000003
  group-by: [Image]
  state: 4KB
---
title: Sequence
id: 00000000-0000-4000-8000-000000000006
correlation:
  type: temporal_ordered
  timespan: 10s
  state: 4KB
  group-by: [Port]
  stages:
    - name: first
      logsource: {category: c}
      detection: {s: {Image|contains: bin}, condition: s}
    - name: second
      logsource: {category: c}
      detection: {s: {Image|contains: bin}, condition: s}
      where: {Image|fieldref: first.Image}
    - name: third
      absent: 1s
      logsource: {category: c}
      detection: {s: {Image|contains: bin}, condition: s}
      where: {CommandLine|fieldref|neq: first.CommandLine}
";

/// Mutants of one seed: enough to reach every table, few enough for every run of the tests.
const MUTANTS: u64 = 10_000;

fn image() -> Vec<u8> {
    let mut library = load_texts([Source { file: "rules.yml", text: RULES }]);
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
    library.image().expect("few rules")
}

/// Evaluates what can be opened; true if it could.
fn survives(bytes: &[u8]) -> bool {
    let Ok(image) = Image::open(bytes) else { return false };
    let mut detector = Detector::new(image);
    for (number, event) in (0_u64..).zip([
        json!({"Image": "/bin/sh", "CommandLine": "curl x | sh -enc foo123 ", "Port": 4444, "Ip": "10.1.2.3", "Name": "sh"}),
        json!({"Image": "/bin/\u{e9}", "CommandLine": ["a", "abbbxc", "evil word"], "Parent": "p"}),
        json!({"CommandLine": "a".repeat(700)}),
        json!({"Image": "/bin/sh", "CommandLine": "curl x | sh -enc foo123 ", "Port": 4444, "Name": "sh"}),
        json!({"Image": "/bin/sh", "CommandLine": "curl y | sh -enc foo123 ", "Port": 4444, "Name": "sh"}),
    ]) {
        let source = LogSource { category: Some("c".into()), product: Some("p".into()), service: None };
        detector.at(source, &event, Moment { time_ns: 1 + number * 1_000_000_000, number }, true);
    }
    detector.advance(1_000_000_000_000);
    true
}

/// A small generator of numbers (xorshift), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a size")
    }
}

#[test]
fn mutants_are_refused_or_evaluated_to_an_end() {
    let good = image();
    assert!(survives(&good));
    let mut numbers = Numbers(0x5741_5445_5254_4947);
    let mut opened = 0_u32;
    let directory =
        size_of::<Header>() + watertight_engine::image::layout::Section::ALL.len() * size_of::<SectionRecord>();
    for _ in 0..MUTANTS {
        let mut bytes = good.clone();
        for _ in 0..=numbers.below(4) {
            // Now and then in the header and the directory, which are small.
            let end = if numbers.below(8) == 0 { directory } else { bytes.len() };
            let at = numbers.below(end - 4);
            match numbers.below(5) {
                0 => bytes[at] ^= 1 << numbers.below(8),
                1 => bytes[at] = u8::try_from(numbers.below(256)).expect("a byte"),
                2 => bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes()),
                3 => {
                    bytes[at..at + 4].copy_from_slice(&u32::try_from(numbers.below(4096)).expect("small").to_le_bytes())
                }
                _ => {
                    let from = numbers.below(bytes.len() - 4);
                    bytes.copy_within(from..from + 4, at);
                }
            }
        }
        opened += u32::from(survives(&bytes));
    }
    assert!(
        opened > 100 && u64::from(opened) < MUTANTS,
        "{opened} of {MUTANTS} could be opened: the mutants prove little"
    );
}

#[test]
fn an_image_that_is_cut_anywhere_is_refused() {
    let good = image();
    for size in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        assert!(Image::open(&good[..size]).is_err(), "{size} of {} bytes", good.len());
    }
    let longer = [good.as_slice(), b"x"].concat();
    assert!(matches!(Image::open(&longer), Err(ImageError::Size { .. })));
}

#[test]
fn an_image_of_another_version_is_refused_by_its_version() {
    let mut bytes = image();
    bytes[8] = 9;
    assert_eq!(Image::open(&bytes).map(|_| ()), Err(ImageError::Version { found: 9 }));
    assert!(matches!(Image::open(b"PK\x03\x04 an archive, and no image of ours"), Err(ImageError::NoHeader)));
}
