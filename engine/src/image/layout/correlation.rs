//! How correlations lie in an image: what several events make of one another.

use super::*;

record! {
    /// A correlation. It is a rule too, with a code that never fires: its id, title and level are there.
    CorrelationRecord {
        /// In `Rules`.
        rule: U32,
        /// `CORRELATE_`.
        kind: U32,
        /// `FLAG_AT_END`, `FLAG_ABOVE`, `FLAG_BELOW`.
        flags: U32,
        /// How many parts the key of a group has.
        parts: U32,
        /// In `Inputs`; of a sequence in the order of its stages.
        inputs: Range,
        /// In `Words`, of `CORRELATE_TEMPORAL`: pairs of inputs that must and must not have happened, a bit for each. One pair
        /// is enough.
        terms: Range,
        /// How long its events may lie apart, in nanoseconds.
        timespan_ns: U64,
        /// Of a sequence: how long the last stage must stay away, in nanoseconds; 0 if it must happen.
        absent_ns: U64,
        /// The least of what is counted or measured that fires, as the bits of an `i64`.
        least: U64,
        /// The most.
        most: U64,
        /// What its state may take.
        state_bytes: U64,
    }
}

/// Events are counted.
pub const CORRELATE_COUNT: u32 = 0;
/// Distinct values of a field are counted.
pub const CORRELATE_VALUES: u32 = 1;
/// The numbers in a field are added up, in thousandths, as the next three are.
pub const CORRELATE_SUM: u32 = 2;
/// Their mean.
pub const CORRELATE_AVERAGE: u32 = 3;
/// The least of them.
pub const CORRELATE_LEAST: u32 = 4;
/// The greatest of them.
pub const CORRELATE_GREATEST: u32 = 5;
/// Inputs have happened, in any order.
pub const CORRELATE_TEMPORAL: u32 = 6;
/// Inputs have happened one after the other.
pub const CORRELATE_SEQUENCE: u32 = 7;

/// It is judged once, when the timespan that began with a group's first event is over.
pub const FLAG_AT_END: u32 = 1;
/// `least` itself does not fire.
pub const FLAG_ABOVE: u32 = 2;
/// `most` itself does not fire.
pub const FLAG_BELOW: u32 = 4;

/// Most parts of a group's key.
pub const PARTS_MAX: u32 = 8;
/// Most inputs of a correlation: each is a bit of a mask.
pub const INPUTS_MAX: u32 = 32;

record! {
    /// An input of a correlation.
    InputRecord {
        /// In `Rules`: a rule, or that of a correlation before this one.
        rule: U32,
        /// In `Bytes`: what people call it.
        name: Range,
        /// In `Words`, one for each part of the key: the slot of the field that gives it (of a correlation: its part), or `NONE`.
        parts: Range,
        /// The slot of the field that is measured (of a correlation: its part), or `NONE`.
        value: U32,
        /// Of a stage after the first, a bit for each part: it must equal that of the stages before.
        joins: U32,
        /// A bit for each part: it must differ from that of the stages before.
        differs: U32,
        /// A bit for each part: case does not matter.
        folds: U32,
    }
}
