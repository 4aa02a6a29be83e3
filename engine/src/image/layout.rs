//! How an image lies in memory: a header, a directory of sections, and in each section records of one size.
//!
//! Numbers are little-endian and may lie at any address, so an image is used where it is mapped. Whoever writes images uses
//! these same types. A change of any record is a new `VERSION`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What an image begins with.
pub const MAGIC: [u8; 8] = *b"WTRULES\0";

/// The layout that this file describes.
pub const VERSION: u32 = 2;

/// The oldest layout that is still read. One of layout 1 has automata of `AUTOMATON_ANYWHERE` alone.
pub const OLDEST_VERSION: u32 = 1;

/// Where there is no index.
pub const NONE: u32 = u32::MAX;

/// A jump of a rule's code to its end: the rule fires.
pub const ACCEPT: u32 = u32::MAX;

/// A jump of a rule's code to its end: it does not.
pub const REJECT: u32 = u32::MAX - 1;

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}

mod correlation;
pub use correlation::*;

record! {
    /// The first bytes.
    Header {
        /// `MAGIC`.
        magic: [u8; 8],
        /// `VERSION`.
        version: U32,
        /// `FLAG_`.
        flags: U32,
        /// Of the whole image.
        size_bytes: U64,
        /// Entries of the directory that follows.
        sections: U32,
        /// Zero.
        reserved: U32,
        /// What one event may cost.
        budget: BudgetRecord,
    }
}

record! {
    /// What one event may cost; no more than the engine's own limits, which are the defaults.
    BudgetRecord {
        /// Questions that are asked one by one, because no automaton answers them.
        questions_max: U32,
        /// What is read of all values of one field, in bytes.
        field_bytes_max: U32,
        /// What questions may look at, in bytes.
        work_bytes_max: U32,
        /// Steps of an expression that is not deterministic.
        program_steps_max: U32,
    }
}

/// The rules are not for this sensor's events alone: a host does not load such an image.
pub const FLAG_FOREIGN: u32 = 1;

record! {
    /// Where a section lies.
    SectionRecord {
        /// A `Section`.
        kind: U32,
        /// Zero.
        reserved: U32,
        /// From the image's beginning.
        offset: U64,
        /// Its size.
        size_bytes: U64,
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs)] // each is named for its records
pub enum Section {
    Bytes = 1,
    Words = 2,
    Fields = 3,
    Groups = 4,
    Rules = 5,
    Selections = 6,
    Nodes = 7,
    Questions = 8,
    Parts = 9,
    Predicates = 10,
    Code = 11,
    Automata = 12,
    States = 13,
    Outputs = 14,
    Expressions = 15,
    Tables = 16,
    Programs = 17,
    Correlations = 18,
    Inputs = 19,
    Silenced = 20,
}

impl Section {
    /// All, in the order of the directory.
    pub const ALL: [Self; 20] = [
        Self::Bytes,
        Self::Words,
        Self::Fields,
        Self::Groups,
        Self::Rules,
        Self::Selections,
        Self::Nodes,
        Self::Questions,
        Self::Parts,
        Self::Predicates,
        Self::Code,
        Self::Automata,
        Self::States,
        Self::Outputs,
        Self::Expressions,
        Self::Tables,
        Self::Programs,
        Self::Correlations,
        Self::Inputs,
        Self::Silenced,
    ];
}

record! {
    /// Some records of a table, or some bytes.
    Range {
        /// The first.
        first: U32,
        /// How many.
        count: U32,
    }
}

impl Range {
    /// These records.
    #[must_use]
    pub fn new(first: u32, count: u32) -> Self {
        Self { first: first.into(), count: count.into() }
    }

    /// A text that is not set, which is not an empty one.
    #[must_use]
    pub fn unset() -> Self {
        Self::new(NONE, 0)
    }

    /// Whether it is a text that is not set.
    #[must_use]
    pub fn is_unset(self) -> bool {
        self.first.get() == NONE
    }
}

record! {
    /// A field that rules name; its position is its slot.
    FieldRecord {
        /// In `Bytes`.
        name: Range,
    }
}

record! {
    /// The rules of one log source, and how to find those that an event concerns.
    GroupRecord {
        /// In `Bytes`; may be unset, as the next two.
        category: Range,
        /// In `Bytes`.
        product: Range,
        /// In `Bytes`.
        service: Range,
        /// In `Rules`.
        rules: Range,
        /// In `Automata`: one for each field that has literals.
        automata: Range,
        /// In `Automata`: searches all fields. May be `NONE`.
        keywords: U32,
        /// In `Words`: rules that have nothing to be found by, so that each event concerns them.
        always: Range,
        /// In `Predicates`.
        predicates: Range,
    }
}

record! {
    /// A rule.
    RuleRecord {
        /// In `Bytes`, as all texts here.
        id: Range,
        /// What an analyst reads first.
        title: Range,
        /// Lines of tags.
        tags: Range,
        /// Whom the rule is owed to; may be unset.
        author: Range,
        /// The file that it was compiled from.
        file: Range,
        /// The line in it.
        line: U32,
        /// `LEVEL_`.
        level: U32,
        /// In `Selections`.
        selections: Range,
        /// In `Nodes`: the condition as it was written.
        root: U32,
        /// In `Code`, or `ACCEPT` or `REJECT`: the condition as it is evaluated.
        code: U32,
        /// In `Words`: the slots of the fields that it asks for, ascending.
        fields: Range,
        /// `ACTION_`.
        action: U32,
        /// `MODE_`.
        mode: U32,
        /// In `Words`, three for each question about a field: its slot, the `TYPE_` bits of the values that can answer yes, and the
        /// line that asks. Of a correlation: the same of each field that its inputs name, in their order.
        asks: Range,
    }
}

/// A hit is told.
pub const ACTION_ALERT: u32 = 0;
/// The process is killed.
pub const ACTION_KILL: u32 = 1;
/// The executable is not started again.
pub const ACTION_DENY_NEXT: u32 = 2;

/// It is only told what would be done.
pub const MODE_AUDIT: u32 = 0;
/// It is done.
pub const MODE_ENFORCE: u32 = 1;

/// Yes or no.
pub const TYPE_BOOL: u32 = 1 << 0;
/// A number from zero.
pub const TYPE_NUMBER: u32 = 1 << 1;
/// A number that can be below zero.
pub const TYPE_SIGNED: u32 = 1 << 2;
/// A string.
pub const TYPE_TEXT: u32 = 1 << 3;
/// Strings in order.
pub const TYPE_LIST: u32 = 1 << 4;
/// An address.
pub const TYPE_ADDRESS: u32 = 1 << 5;
/// Values of any type.
pub const TYPE_ANY: u32 = (1 << 6) - 1;

/// The author did not say how grave a hit is.
pub const LEVEL_NONE: u32 = 0;
/// How grave a hit is, from informational (1) to critical.
pub const LEVEL_MAX: u32 = 5;

record! {
    /// A named part of a rule.
    SelectionRecord {
        /// In `Bytes`.
        name: Range,
    }
}

record! {
    /// A piece of a condition as it was written. It refers to nodes before it alone.
    NodeRecord {
        /// `NODE_`.
        kind: U32,
        /// Of all and any: the first in `Words`. Else the node, the selection of the rule, or the question.
        first: U32,
        /// Of all and any: how many. Of a selection: its body.
        count: U32,
    }
}

/// Every child is true.
pub const NODE_ALL: u32 = 0;
/// Some child is true.
pub const NODE_ANY: u32 = 1;
/// The child is not true.
pub const NODE_NOT: u32 = 2;
/// A selection by its name.
pub const NODE_SELECTION: u32 = 3;
/// A question about a field.
pub const NODE_IS: u32 = 4;

record! {
    /// A question about one field, as it was written.
    QuestionRecord {
        /// A slot; `NONE` for any field.
        field: U32,
        /// `ASK_`.
        kind: U32,
        /// What the kind says.
        flags: U32,
        /// What the kind says.
        first: U32,
        /// What the kind says.
        count: U32,
        /// A number, or the bits of one with a fraction.
        value: U64,
        /// In `Bytes`: the question's text, for people.
        source: Range,
    }
}

/// `first` and `count` are in `Parts`; `flags` is `FLAG_CASED` or 0.
pub const ASK_TEXT: u32 = 0;
/// `first` is in `Expressions`; `count` is what a text that fits has at least, in bytes.
pub const ASK_EXPRESSION: u32 = 1;
/// `flags` is a `COMPARE_` and perhaps `FLAG_REAL`.
pub const ASK_COMPARE: u32 = 2;
/// `flags` is a `COMPARE_` and perhaps `FLAG_REAL`; `first` a `TIME_`.
pub const ASK_TIME: u32 = 3;
/// `first` and `count` are in `Bytes`: 4 or 16 of them; `flags` is the length of the prefix in bits.
pub const ASK_WITHIN: u32 = 4;
/// `flags` is 1 if the field must be there, else 0.
pub const ASK_EXISTS: u32 = 5;
/// The field is absent or null.
pub const ASK_NULL: u32 = 6;
/// `first` is another slot, `count` a `PLACE_`, `flags` is `FLAG_CASED` or 0.
pub const ASK_SAME_AS: u32 = 7;

/// Case matters.
pub const FLAG_CASED: u32 = 1;
/// The number has a fraction.
pub const FLAG_REAL: u32 = 1 << 8;

/// `==`
pub const COMPARE_EQUAL: u32 = 0;
/// `<`
pub const COMPARE_LESS: u32 = 1;
/// `<=`
pub const COMPARE_LESS_OR_EQUAL: u32 = 2;
/// `>`
pub const COMPARE_GREATER: u32 = 3;
/// `>=`
pub const COMPARE_GREATER_OR_EQUAL: u32 = 4;

/// 0 to 59.
pub const TIME_MINUTE: u32 = 0;
/// 0 to 23.
pub const TIME_HOUR: u32 = 1;
/// Of the month, 1 to 31.
pub const TIME_DAY: u32 = 2;
/// ISO 8601 week, 1 to 53.
pub const TIME_WEEK: u32 = 3;
/// 1 to 12.
pub const TIME_MONTH: u32 = 4;
/// 1970 and such.
pub const TIME_YEAR: u32 = 5;

/// Anywhere in a value.
pub const PLACE_ANYWHERE: u32 = 0;
/// At its beginning.
pub const PLACE_START: u32 = 1;
/// At its end.
pub const PLACE_END: u32 = 2;
/// The whole of it.
pub const PLACE_WHOLE: u32 = 3;

record! {
    /// A piece of a text with wildcards.
    PartRecord {
        /// `PART_`.
        kind: U32,
        /// In `Bytes`, of a literal; folded unless case matters.
        text: Range,
    }
}

/// These bytes.
pub const PART_LITERAL: u32 = 0;
/// Any one character; a byte that is not UTF-8 counts as one.
pub const PART_ANY_ONE: u32 = 1;
/// Any characters, or none.
pub const PART_ANY_MANY: u32 = 2;
/// One of `-`, `/`, en dash, em dash, horizontal bar.
pub const PART_DASH: u32 = 3;

record! {
    /// A question as it is evaluated: found by the automata, or asked when a rule comes to it.
    PredicateRecord {
        /// In `Questions`; `NONE` for what automata find.
        question: U32,
        /// A predicate before it without which it is not worth asking; `NONE` if there is none.
        needs: U32,
        /// In `Words`: the rules that are evaluated when it is found.
        rules: Range,
    }
}

record! {
    /// A step of a rule's code: where to go on. Both ways lead to steps before it, so that every rule ends.
    CodeRecord {
        /// In `Predicates`, with `CODE_FOUND` if automata find it. Layout 1 does not say.
        predicate: U32,
        /// In `Code`, or `ACCEPT` or `REJECT`.
        if_true: U32,
        /// In `Code`, or `ACCEPT` or `REJECT`.
        if_false: U32,
    }
}

/// Of the predicate of a step: automata find it, so that it needs no more asking.
pub const CODE_FOUND: u32 = 1 << 31;

record! {
    /// Finds many literals in one pass over a field (Aho and Corasick, 1975). A field may have one of each kind.
    AutomatonRecord {
        /// A slot; `NONE` if it searches all fields.
        field: U32,
        /// In `Bytes`: the class of each of 256 bytes.
        classes: Range,
        /// How many classes.
        class_count: U32,
        /// In `States`.
        states: Range,
        /// Bytes of the longest literal, with an `AUTOMATON_` above `AUTOMATON_SHIFT`.
        longest_bytes: U32,
    }
}

/// Of `longest_bytes`: where the kind begins.
pub const AUTOMATON_SHIFT: u32 = 30;
/// Its literals may stand anywhere in a value.
pub const AUTOMATON_ANYWHERE: u32 = 0;
/// Its literals stand where a value begins. A tree: every state falls back to the first, to which no byte leads, and the search ends
/// there.
pub const AUTOMATON_FROM_START: u32 = 1;
/// Its literals stand where a value ends, which is read backwards. A tree too.
pub const AUTOMATON_FROM_END: u32 = 2;

/// Of a state's first word, and of what leads to it: a row for every class follows. Words: first, output, one target for each
/// class.
pub const STATE_DENSE: u32 = 1 << 31;
/// Of a state's first word, and of what leads to it: it has an output.
pub const STATE_OUTPUT: u32 = 1 << 30;
/// Of what leads to a state: where it begins, in words from the first.
pub const STATE_PLACE_MASK: u32 = !(STATE_DENSE | STATE_OUTPUT);
/// Of a state's first word: how many targets a state without `STATE_DENSE` has. Words: first, where to go on when no target
/// fits, output if there is one, four classes a word if there are several targets, targets.
pub const STATE_COUNT_MASK: u32 = 0xFF;
/// Of a state's first word: the class of the only target.
pub const STATE_CLASS_SHIFT: u32 = 8;

/// Of a state's output: it has one use alone, which stands where the automaton's literals do, and the rest of the word is that use without
/// its place. `NONE` is none.
pub const OUTPUT_ONLY: u32 = 1 << 31;

record! {
    /// A literal that was found.
    OutputRecord {
        /// Its size.
        size_bytes: U32,
        /// In `Words`: a predicate, with a `PLACE_` above `USE_PLACE_SHIFT`, and `USE_ANNOUNCES`.
        uses: Range,
        /// An output before it: the longest literal that this one ends with. `NONE` if there is none.
        next: U32,
    }
}

/// Of a use: where the place begins.
pub const USE_PLACE_SHIFT: u32 = 30;
/// Of a use: the predicate has rules that are evaluated when it is found. In layout 1 each may have.
pub const USE_ANNOUNCES: u32 = 1 << 29;
/// Of a use: the predicate.
pub const USE_PREDICATE_MASK: u32 = USE_ANNOUNCES - 1;

record! {
    /// A regular expression.
    ExpressionRecord {
        /// `EXPRESSION_`.
        kind: U32,
        /// In `Tables` or `Programs`.
        first: U32,
        /// How many.
        count: U32,
        /// Of a table: in `Bytes`, the class of each of 256 bytes.
        classes: Range,
        /// Of a table: how many classes, with that of the text's end, which is the last.
        class_count: U32,
        /// The first state.
        start: U32,
        /// Of a table: states from here on are matches. State 0 is dead.
        match_from: U32,
    }
}

/// Deterministic: a row of the next states for each state.
pub const EXPRESSION_TABLE: u32 = 0;
/// Not deterministic: all its threads are followed at once (Thompson, 1968).
pub const EXPRESSION_PROGRAM: u32 = 1;

record! {
    /// A step of an expression that is not deterministic.
    StepRecord {
        /// `STEP_`.
        kind: U32,
        /// The least byte; or the first of the ways in `Words`; or a `LOOK_`.
        first: U32,
        /// The greatest byte; or how many ways.
        count: U32,
        /// The next step.
        next: U32,
    }
}

/// A byte between two.
pub const STEP_BYTES: u32 = 0;
/// Several ways at once.
pub const STEP_SPLIT: u32 = 1;
/// What lies around the place.
pub const STEP_LOOK: u32 = 2;
/// Found.
pub const STEP_MATCH: u32 = 3;
/// Never.
pub const STEP_FAIL: u32 = 4;

/// The text's beginning.
pub const LOOK_START: u32 = 0;
/// The text's end.
pub const LOOK_END: u32 = 1;
/// A line's beginning.
pub const LOOK_LINE_START: u32 = 2;
/// A line's end.
pub const LOOK_LINE_END: u32 = 3;
/// A word begins or ends.
pub const LOOK_WORD: u32 = 4;
/// No word begins or ends.
pub const LOOK_NOT_WORD: u32 = 5;

/// Classes of bytes.
pub const CLASSES_SIZE_BYTES: u32 = 256;

/// What a table of an expression is made of.
pub type TableEntry = U16;
/// What lists and states are made of.
pub type Word = U32;
