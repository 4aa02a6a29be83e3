//! Mutants of packs: what a broken disk, a bad build or an attacker who can sign makes of a good one.
//!
//! Most are sealed again, with right digests and places: without that, digests would refuse every one of them and nothing behind
//! would be tried.

use sha2::{Digest as _, Sha256};
use watertight_content::pack::{Engines, Release};
use watertight_content_pack::layout::{Header, Section, SectionRecord, MAGIC, VERSION};
use watertight_content_pack::Pack;
use watertight_engine::{Field, Fields, Image, LogSource, Scratch, Value};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::support::{built, release};

const SECTIONS: usize = Section::ALL.len();

/// Bytes before the first section.
pub const HEAD_BYTES: usize = size_of::<Header>() + SECTIONS * size_of::<SectionRecord>();

/// The bytes of each section.
pub type Parts = [Vec<u8>; SECTIONS];

/// A pack taken apart.
pub fn parts(pack: &[u8]) -> Parts {
    let (_, rest) = Header::ref_from_prefix(pack).expect("a pack");
    let (records, _) = <[SectionRecord]>::ref_from_prefix_with_elems(rest, SECTIONS).expect("a pack");
    let bytes = |at: usize| {
        let first = usize::try_from(records[at].offset.get()).expect("a small pack");
        pack[first..first + usize::try_from(records[at].size_bytes.get()).expect("a small pack")].to_vec()
    };
    std::array::from_fn(bytes)
}

/// Parts as a pack whose head is right in every respect.
pub fn sealed(parts: &Parts) -> Vec<u8> {
    let mut offset = HEAD_BYTES as u64;
    let mut directory = Vec::new();
    for (section, bytes) in Section::ALL.iter().zip(parts) {
        directory.push(SectionRecord {
            kind: (*section as u32).into(),
            reserved: 0.into(),
            offset: offset.into(),
            size_bytes: (bytes.len() as u64).into(),
            sha256: Sha256::digest(bytes).into(),
        });
        offset += bytes.len() as u64;
    }
    let header =
        Header { magic: MAGIC, version: VERSION.into(), sections: (SECTIONS as u32).into(), size_bytes: offset.into() };
    let mut pack = [header.as_bytes(), directory.as_bytes()].concat();
    parts.iter().for_each(|bytes| pack.extend_from_slice(bytes));
    pack
}

/// A small generator of numbers (xorshift), the same in every run.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a size")
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Where the mutants of the tests begin.
pub const SEED: u64 = 0x5741_5445_5254_4947;

/// Numbers that counts, offsets and sizes are replaced by: ends of ranges, and what claims gigabytes.
const WORDS: [u32; 9] = [0, 1, 2, 255, 65_535, 65_537, 0x4000_0000, u32::MAX - 1, u32::MAX];

/// Bytes that make a name look like another, or end it early.
const DISGUISES: [&[u8]; 5] =
    [b"\0", "\u{202e}".as_bytes(), "\u{2066}".as_bytes(), "\u{feff}".as_bytes(), &[0xff, 0xfe]];

/// Makes mutants of packs, the same ones for the same seed.
pub struct Mutants {
    packs: Vec<Vec<u8>>,
    parts: Vec<Parts>,
    numbers: Numbers,
}

impl Mutants {
    pub fn of(packs: Vec<Vec<u8>>, seed: u64) -> Self {
        let parts = packs.iter().map(|pack| parts(pack)).collect();
        Self { packs, parts, numbers: Numbers(seed) }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let which = self.numbers.below(self.packs.len());
        if self.numbers.below(8) == 0 {
            return self.torn(which);
        }
        let mut parts = self.parts[which].clone();
        for _ in 0..=self.numbers.below(3) {
            self.change(which, &mut parts);
        }
        sealed(&parts)
    }

    /// A mutant that is not sealed: bytes, sizes in the head, the file's end.
    fn torn(&mut self, which: usize) -> Vec<u8> {
        let mut pack = self.packs[which].clone();
        let numbers = &mut self.numbers;
        match numbers.below(4) {
            0 => {
                let at = numbers.below(pack.len());
                pack[at] ^= 1 << numbers.below(8);
            }
            1 => {
                let at = numbers.below(HEAD_BYTES - 4);
                pack[at..at + 4].copy_from_slice(&numbers.one_of(&WORDS).to_le_bytes());
            }
            2 => pack.truncate(numbers.below(pack.len())),
            _ => pack.extend(std::iter::repeat_n(0, numbers.below(4096))),
        }
        pack
    }

    fn change(&mut self, which: usize, parts: &mut Parts) {
        let numbers = &mut self.numbers;
        // The small sections as often as the large one.
        let at = numbers.below(SECTIONS);
        let size = parts[at].len();
        if size < 8 {
            parts[at].extend((0..numbers.below(64)).map(|_| 0));
            return;
        }
        let place = match numbers.below(3) {
            0 => numbers.below(size.min(64) - 4), // the section's own header
            _ => numbers.below(size - 4),
        };
        let bytes = &mut parts[at];
        match numbers.below(10) {
            0 => bytes[place] ^= 1 << numbers.below(8),
            1 => bytes[place] = u8::try_from(numbers.below(256)).expect("a byte"),
            2 | 3 => bytes[place..place + 4].copy_from_slice(&numbers.one_of(&WORDS).to_le_bytes()),
            4 => {
                let small = u32::try_from(numbers.below(4096)).expect("small");
                bytes[place..place + 4].copy_from_slice(&small.to_le_bytes());
            }
            5 => {
                // A record in another's place: ids twice, tables that lead in circles.
                let length = numbers.one_of(&[4, 8, 16, 40, 48]).min(size - place);
                let from = numbers.below(size - length + 1);
                bytes.copy_within(from..from + length, place);
            }
            6 => {
                let disguise = numbers.one_of(&DISGUISES);
                let length = disguise.len().min(size - place);
                bytes[place..place + length].copy_from_slice(&disguise[..length]);
            }
            7 => bytes.truncate(place),
            8 => {
                let more: Vec<u8> = bytes[place..(place + 64).min(size)].to_vec();
                bytes.splice(place..place, more);
            }
            _ => {
                // A section of another pack, or of another kind.
                let other = match self.parts.len() > 1 && numbers.below(2) == 0 {
                    true => self.parts[(which + 1) % self.parts.len()][at].clone(),
                    false => parts[numbers.below(SECTIONS)].clone(),
                };
                parts[at] = other;
            }
        }
    }
}

/// Another pack, so that parts of two can be mixed.
pub fn other_pack() -> Vec<u8> {
    let release = Release { version: 8, engines: Engines { max: 9, ..Engines::OF_THIS }, is_urgent: true, ..release() };
    let rules = "title: One\nid: one\nlogsource: {product: linux}\ndetection:\n  s: {User: x}\n  condition: s\n";
    let tests = "fires: [{category: c, event: {User: x}}]\nsilent: [{category: c, event: {User: y}}]";
    built(&release, rules, tests, None).expect("good sources").bytes
}

/// An event whose every field has the same awkward values.
struct Awkward;

impl Fields for Awkward {
    fn get<'e>(&'e self, _: Field<'_>, each: &mut dyn FnMut(Value<'e>)) {
        for value in [Value::Null, Value::Int(-1), Value::Text(b"curl \xff | sh evil word foo123 "), Value::Text(b"")] {
            each(value);
        }
    }

    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>)) {
        self.get(Field { slot: 0, name: "x" }, &mut |value| each(Some(0), "x", value));
    }
}

/// What became of a mutant.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Refused,
    /// It opens, and its canaries come out otherwise than they must: a host does not activate it.
    FailsItsTest,
    Accepted,
    AcceptedThenFails,
}

/// What a host does with a pack, to the end.
pub fn outcome(bytes: &[u8]) -> Outcome {
    let pack = match Pack::open(bytes) {
        Ok(pack) => pack,
        Err(error) => {
            assert!(!error.to_string().contains(['\0', '\u{202e}', '\u{2066}']), "{error}");
            return Outcome::Refused;
        }
    };
    if pack.self_test().is_err() {
        return Outcome::FailsItsTest;
    }
    let Ok(image) = Image::open(pack.image()) else { return Outcome::AcceptedThenFails };
    let mut scratch = Scratch::new();
    for logsource in [LogSource { category: Some("c"), product: Some("p"), service: None }, LogSource::default()] {
        let plan = image.plan(&logsource);
        let mut hits = Vec::new();
        plan.evaluate(&Awkward, &mut scratch, &mut |rule| hits.push(rule));
        if hits.iter().any(|rule| image.rule(*rule).is_none() || plan.explain(*rule, &Awkward, &mut scratch).is_none())
        {
            return Outcome::AcceptedThenFails;
        }
    }
    match pack.policy().is_none_or(|policy| policy.check().is_ok()) {
        true => Outcome::Accepted,
        false => Outcome::AcceptedThenFails,
    }
}
