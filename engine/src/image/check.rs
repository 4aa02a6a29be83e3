//! Whether an image refers only to what it holds, so that what was compiled is what is evaluated.
//!
//! Each check is one pass over a table. Two of them are what makes every evaluation end: a rule's code jumps only backwards,
//! and an automaton falls back only to states before.

use super::layout::{
    AutomatonRecord, CodeRecord, ExpressionRecord, GroupRecord, NodeRecord, OutputRecord, PartRecord, PredicateRecord,
    QuestionRecord, Range, RuleRecord, StepRecord, Word, ACCEPT, ACTION_DENY_NEXT, ASK_COMPARE, ASK_EXISTS,
    ASK_EXPRESSION, ASK_NULL, ASK_SAME_AS, ASK_TEXT, ASK_TIME, ASK_WITHIN, AUTOMATON_ANYWHERE, AUTOMATON_FROM_END,
    AUTOMATON_SHIFT, CLASSES_SIZE_BYTES, CODE_FOUND, COMPARE_GREATER_OR_EQUAL, EXPRESSION_PROGRAM, EXPRESSION_TABLE,
    FLAG_CASED, FLAG_FOREIGN, FLAG_REAL, LEVEL_MAX, LOOK_NOT_WORD, MODE_ENFORCE, NODE_ALL, NODE_ANY, NODE_IS, NODE_NOT,
    NODE_SELECTION, NONE, OLDEST_VERSION, OUTPUT_ONLY, PART_DASH, PART_LITERAL, PLACE_WHOLE, REJECT, STATE_CLASS_SHIFT,
    STATE_COUNT_MASK, STATE_DENSE, STATE_OUTPUT, STATE_PLACE_MASK, STEP_BYTES, STEP_FAIL, STEP_LOOK, STEP_MATCH,
    STEP_SPLIT, TIME_YEAR, TYPE_ANY, USE_ANNOUNCES, USE_PREDICATE_MASK, VERSION,
};
use super::{at, Image};

/// Deepest nesting of a condition, in nodes. People write ten; explaining recurses this far and no further.
pub const CONDITION_DEPTH_MAX: u16 = 256;

/// Most steps of an expression that is not deterministic: what one event may cost is this times the bytes that it is tried on.
pub const PROGRAM_STEPS_MAX: u32 = 65_536;

/// Why bytes are not an image that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// They begin with something else.
    #[error("this is no compiled content: it does not begin as such")]
    NoHeader,
    /// Another version wrote them.
    #[error(
        "the content is of layout {found}, this engine reads layouts {OLDEST_VERSION} to {VERSION}: use content that was compiled for it"
    )]
    Version {
        /// What it says.
        found: u32,
    },
    /// Some of it is missing, or something is behind it.
    #[error("the content says that it has {stated} bytes, and {found} are there: it was cut short or is damaged")]
    Size {
        /// What it says.
        stated: u64,
        /// What there is.
        found: usize,
    },
    /// A section is not where it must be, or not of whole records.
    #[error("section {section} of the content is missing or not whole: it is damaged")]
    Section {
        /// Its name.
        section: &'static str,
    },
    /// A record refers to what is not there.
    #[error("{table} {position} of the content: {what}: it is damaged")]
    Record {
        /// The table.
        table: &'static str,
        /// The record in it.
        position: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// A complaint about a record of a table.
pub(super) type Complaint = &'static str;

pub(super) fn check(image: &Image<'_>) -> Result<(), ImageError> {
    if image.flags & !FLAG_FOREIGN != 0 {
        return Err(ImageError::Section { section: "header" });
    }
    each("field", image.fields, |field| name(image, field.name))?;
    each("part", image.parts, |part| check_part(image, part))?;
    each("step", image.programs, |step| check_step(image, step))?;
    each("expression", image.expressions, |expression| check_expression(image, expression))?;
    each("question", image.questions, |question| check_question(image, question))?;
    each("selection", image.selections, |selection| text(image, selection.name))?;
    numbered("predicate", image.predicates, |position, predicate| check_predicate(image, position, predicate))?;
    numbered("step of code", image.code, |position, code| check_code(image, position, code))?;
    numbered("output", image.outputs, |position, output| check_output(image, position, output))?;
    each("automaton", image.automata, |automaton| check_automaton(image, automaton))?;
    check_nodes(image)?;
    each("group", image.groups, |group| check_group(image, group))?;
    each("rule", image.rules, |rule| check_rule(image, rule))?;
    super::correlation::check(image)
}

pub(super) fn each<T>(
    table: &'static str,
    records: &[T],
    mut check: impl FnMut(&T) -> Result<(), Complaint>,
) -> Result<(), ImageError> {
    numbered(table, records, |_, record| check(record))
}

pub(super) fn numbered<T>(
    table: &'static str,
    records: &[T],
    mut check: impl FnMut(u32, &T) -> Result<(), Complaint>,
) -> Result<(), ImageError> {
    for (position, record) in records.iter().enumerate() {
        let number = u32::try_from(position).map_err(|_| "has a number that can't be counted");
        let checked = number.and_then(|number| check(number, record));
        checked.map_err(|what| ImageError::Record { table, position, what })?;
    }
    Ok(())
}

pub(super) fn must(holds: bool, what: Complaint) -> Result<(), Complaint> {
    holds.then_some(()).ok_or(what)
}

pub(super) fn within<T>(table: &[T], range: Range, what: Complaint) -> Result<(), Complaint> {
    let end = u64::from(range.first.get()).saturating_add(u64::from(range.count.get()));
    must(end <= table.len() as u64, what)
}

pub(super) fn is_in<T>(table: &[T], position: u32) -> bool {
    u64::from(position) < table.len() as u64
}

pub(super) fn text(image: &Image<'_>, range: Range) -> Result<(), Complaint> {
    within(image.bytes, range, "a text lies outside")?;
    must(std::str::from_utf8(image.bytes_of(range)).is_ok(), "a text is not UTF-8")
}

/// A text that people read as a name: no control or bidirectional characters, which would make one name look like another.
fn name(image: &Image<'_>, range: Range) -> Result<(), Complaint> {
    text(image, range)?;
    must(!image.text(range).is_empty(), "a name is empty")?;
    must(image.text(range).chars().all(is_plain), "a name has a control or bidirectional character")
}

/// Whether a character may stand in a name: neither a control character nor one that changes how its neighbours are shown.
#[must_use]
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

fn text_or_unset(image: &Image<'_>, range: Range) -> Result<(), Complaint> {
    match range.is_unset() {
        true => must(range.count.get() == 0, "a text that is not set has a size"),
        false => text(image, range),
    }
}

pub(super) fn slot(image: &Image<'_>, slot: u32, what: Complaint) -> Result<(), Complaint> {
    must(is_in(image.fields, slot) && slot <= u32::from(u16::MAX), what)
}

fn check_part(image: &Image<'_>, part: &PartRecord) -> Result<(), Complaint> {
    must(part.kind.get() <= PART_DASH, "is of an unknown kind")?;
    if part.kind.get() == PART_LITERAL {
        within(image.bytes, part.text, "its text lies outside")?;
    }
    Ok(())
}

fn check_step(image: &Image<'_>, step: &StepRecord) -> Result<(), Complaint> {
    let (first, count) = (step.first.get(), step.count.get());
    match step.kind.get() {
        STEP_BYTES => must(first <= 0xFF && count <= 0xFF, "has more than a byte"),
        STEP_SPLIT => within(image.words, Range::new(first, count), "its ways lie outside"),
        STEP_LOOK => must(first <= LOOK_NOT_WORD, "looks for something unknown"),
        STEP_MATCH | STEP_FAIL => Ok(()),
        _ => Err("is of an unknown kind"),
    }
}

fn check_expression(image: &Image<'_>, expression: &ExpressionRecord) -> Result<(), Complaint> {
    let states = Range { first: expression.first, count: expression.count };
    match expression.kind.get() {
        EXPRESSION_TABLE => {
            let classes = expression.class_count.get();
            within(image.tables, states, "its table lies outside")?;
            check_classes(image, expression.classes, classes.saturating_sub(1))?;
            let rows = expression.count.get().checked_div(classes).ok_or("has no classes")?;
            must(rows.checked_mul(classes) == Some(expression.count.get()), "its rows are not whole")?;
            must(expression.start.get() < rows, "starts outside")?;
            let entries = super::slice(image.tables, states);
            must(entries.iter().all(|next| u32::from(next.get()) < rows), "leads outside")
        }
        EXPRESSION_PROGRAM => {
            within(image.programs, states, "its steps lie outside")?;
            must(expression.count.get() <= image.budget.program_steps_max, "has too many steps")?;
            must(expression.start.get() < expression.count.get(), "starts outside")?;
            let leads_inside = |step: &StepRecord| match step.kind.get() {
                STEP_SPLIT => {
                    let ways = image.words_of(Range { first: step.first, count: step.count });
                    ways.iter().all(|way| way.get() < expression.count.get())
                }
                STEP_BYTES | STEP_LOOK => step.next.get() < expression.count.get(),
                _ => true,
            };
            must(super::slice(image.programs, states).iter().all(leads_inside), "leads outside")
        }
        _ => Err("is of an unknown kind"),
    }
}

/// A class for each byte, each below `count`.
fn check_classes(image: &Image<'_>, range: Range, count: u32) -> Result<(), Complaint> {
    must(range.count.get() == CLASSES_SIZE_BYTES, "has not 256 classes")?;
    within(image.bytes, range, "its classes lie outside")?;
    must(image.bytes_of(range).iter().all(|class| u32::from(*class) < count), "has a class that is not counted")
}

fn check_question(image: &Image<'_>, question: &QuestionRecord) -> Result<(), Complaint> {
    if question.field.get() != NONE {
        slot(image, question.field.get(), "asks for a field that is not there")?;
    }
    text(image, question.source)?;
    let (flags, first, count) = (question.flags.get(), question.first.get(), question.count.get());
    match question.kind.get() {
        ASK_TEXT => {
            must(flags & !FLAG_CASED == 0, "has unknown flags")?;
            within(image.parts, Range::new(first, count), "its parts lie outside")
        }
        ASK_EXPRESSION => must(is_in(image.expressions, first), "its expression is not there"),
        ASK_COMPARE => must(flags & !FLAG_REAL <= COMPARE_GREATER_OR_EQUAL, "compares in an unknown way"),
        ASK_TIME => must(
            flags & !FLAG_REAL <= COMPARE_GREATER_OR_EQUAL && first <= TIME_YEAR,
            "asks for an unknown part of a time",
        ),
        ASK_WITHIN => {
            let range = Range::new(first, count);
            within(image.bytes, range, "its address lies outside")?;
            must(matches!(count, 4 | 16), "its address has neither 4 nor 16 bytes")?;
            must(u64::from(flags) <= u64::from(count).saturating_mul(8), "its prefix is longer than its address")
        }
        ASK_EXISTS => must(flags <= 1, "has unknown flags"),
        ASK_NULL => Ok(()),
        ASK_SAME_AS => {
            must(flags & !FLAG_CASED == 0 && count <= PLACE_WHOLE, "compares in an unknown way")?;
            slot(image, first, "compares with a field that is not there")
        }
        _ => Err("is of an unknown kind"),
    }
}

fn check_predicate(image: &Image<'_>, position: u32, predicate: &PredicateRecord) -> Result<(), Complaint> {
    let question = predicate.question.get();
    must(question == NONE || is_in(image.questions, question), "its question is not there")?;
    let needs = predicate.needs.get();
    if needs != NONE {
        let needed = at(image.predicates, needs).filter(|_| needs < position);
        must(needed.is_some_and(|needed| needed.question.get() == NONE), "needs what is not found before it")?;
    }
    must(position <= USE_PREDICATE_MASK, "has a number that can't be counted")?;
    list_of(image, predicate.rules, image.rules.len(), "its rules are not there")
}

/// Numbers in `Words`, each below `limit`.
pub(super) fn list_of(image: &Image<'_>, range: Range, limit: usize, what: Complaint) -> Result<(), Complaint> {
    within(image.words, range, what)?;
    must(image.words_of(range).iter().all(|number| u64::from(number.get()) < limit as u64), what)
}

fn check_code(image: &Image<'_>, position: u32, code: &CodeRecord) -> Result<(), Complaint> {
    let ends = |target: u32| target == ACCEPT || target == REJECT || target < position;
    must(ends(code.if_true.get()) && ends(code.if_false.get()), "jumps to what is not before it")?;
    let number = code.predicate.get();
    let asked = if image.tells_announcing() { number & !CODE_FOUND } else { number };
    let predicate = at(image.predicates, asked).ok_or("asks a predicate that is not there")?;
    let is_told = !image.tells_announcing() || (number & CODE_FOUND != 0) == (predicate.question.get() == NONE);
    must(is_told, "says otherwise than its predicate whether that is found")
}

fn check_output(image: &Image<'_>, position: u32, output: &OutputRecord) -> Result<(), Complaint> {
    let next = output.next.get();
    must(next == NONE || next < position, "goes on with what is not before it")?;
    within(image.words, output.uses, "its uses lie outside")?;
    must(image.words_of(output.uses).iter().all(|used| is_use(image, used.get())), "is used by what is not there")
}

/// Whether the predicate of a use is there, is one that is found, and announces rules if the use says so.
fn is_use(image: &Image<'_>, used: u32) -> bool {
    let Some(predicate) = at(image.predicates, used & USE_PREDICATE_MASK) else { return false };
    let announces = predicate.rules.count.get() != 0;
    let is_told = !image.tells_announcing() || (used & USE_ANNOUNCES != 0) == announces;
    predicate.question.get() == NONE && is_told
}

/// Walks the states from the first, each of which says how long it is, and notes where they begin; then looks at where they
/// lead.
fn check_automaton(image: &Image<'_>, automaton: &AutomatonRecord) -> Result<(), Complaint> {
    if automaton.field.get() != NONE {
        slot(image, automaton.field.get(), "searches a field that is not there")?;
    }
    let kind = automaton.longest_bytes.get() >> AUTOMATON_SHIFT;
    let kinds = if image.version == OLDEST_VERSION { AUTOMATON_ANYWHERE } else { AUTOMATON_FROM_END };
    must(kind <= kinds, "is of an unknown kind")?;
    within(image.states, automaton.states, "its states lie outside")?;
    let classes = automaton.class_count.get();
    must((1..=256).contains(&classes), "has no classes, or more than bytes")?;
    check_classes(image, automaton.classes, classes)?;
    let states = super::slice(image.states, automaton.states);
    must(states.first().is_some_and(|first| first.get() & STATE_DENSE != 0), "has no first state with a full row")?;
    let mut begins = vec![false; states.len()];
    let mut position = 0;
    while let Some(state) = State::at(states, position, classes) {
        if let Some(mark) = begins.get_mut(position) {
            *mark = true;
        }
        position = position.saturating_add(state.size);
    }
    must(position == states.len(), "its states are not whole")?;
    // A state's place, if the target says of it what it says itself.
    let place_of = |target: u32| {
        let place = usize::try_from(target & STATE_PLACE_MASK).ok()?;
        let first = states.get(place).filter(|_| begins.get(place) == Some(&true))?;
        (first.get() & !STATE_PLACE_MASK == target & !STATE_PLACE_MASK).then_some(place)
    };
    position = 0;
    while let Some(state) = State::at(states, position, classes) {
        must(state.targets.iter().all(|target| place_of(target.get()).is_some()), "leads to what is no state")?;
        if let Some(back) = state.back {
            let is_before = place_of(back).is_some_and(|back| back < position);
            must(is_before, "falls back to what is no state before it")?;
            must(kind == AUTOMATON_ANYWHERE || back == STATE_DENSE, "is a tree that falls back")?;
        }
        if let Some(output) = state.output {
            // Of layout 1 no image has so many outputs.
            let is_there = if output & OUTPUT_ONLY != 0 && output != NONE && image.tells_announcing() {
                output & !(OUTPUT_ONLY | USE_ANNOUNCES | USE_PREDICATE_MASK) == 0 && is_use(image, output)
            } else {
                is_in(image.outputs, output)
            };
            must(is_there, "finds what is not there")?;
        }
        position = position.saturating_add(state.size);
    }
    Ok(())
}

/// A state of an automaton, taken apart.
struct State<'i> {
    /// In words.
    size: usize,
    back: Option<u32>,
    output: Option<u32>,
    targets: &'i [zerocopy::little_endian::U32],
}

impl<'i> State<'i> {
    fn at(states: &'i [zerocopy::little_endian::U32], position: usize, classes: u32) -> Option<Self> {
        let rest = states.get(position..)?;
        let first = rest.first()?.get();
        let has_output = first & STATE_OUTPUT != 0;
        if first & STATE_DENSE != 0 {
            let size = usize::try_from(classes).ok()?.checked_add(2)?;
            let targets = rest.get(2..size)?;
            return Some(Self { size, back: None, output: has_output.then_some(rest.get(1)?.get()), targets });
        }
        let count = usize::try_from(first & STATE_COUNT_MASK).ok()?;
        let only = first >> STATE_CLASS_SHIFT & 0xFF;
        if count == 1 && only >= classes {
            return None;
        }
        let packed = if count > 1 { count.div_ceil(4) } else { 0 };
        let before = 2_usize.checked_add(usize::from(has_output))?.checked_add(packed)?;
        let size = before.checked_add(count)?;
        let output = if has_output { Some(rest.get(2)?.get()) } else { None };
        Some(Self { size, back: Some(rest.get(1)?.get()), output, targets: rest.get(before..size)? })
    }
}

/// Nodes refer to nodes before them, no deeper than explaining goes.
fn check_nodes(image: &Image<'_>) -> Result<(), ImageError> {
    let mut depths: Vec<u16> = Vec::with_capacity(image.nodes.len());
    numbered("node", image.nodes, |_, node| {
        let depth = depth_of(image, node, &depths)?;
        must(depth <= CONDITION_DEPTH_MAX, "nests too deep")?;
        depths.push(depth);
        Ok(())
    })
}

fn depth_of(image: &Image<'_>, node: &NodeRecord, depths: &[u16]) -> Result<u16, Complaint> {
    const NOT_THERE: Complaint = "refers to what is not before it";
    let (first, count) = (node.first.get(), node.count.get());
    let below = match node.kind.get() {
        NODE_ALL | NODE_ANY => {
            let range = Range::new(first, count);
            within(image.words, range, "its children lie outside")?;
            let children = image.words_of(range).iter();
            children.map(|child| at(depths, child.get()).copied()).try_fold(0, |most, depth| Some(depth?.max(most)))
        }
        NODE_NOT => at(depths, first).copied(),
        NODE_SELECTION => at(depths, count).copied(),
        NODE_IS => is_in(image.questions, first).then_some(0),
        _ => return Err("is of an unknown kind"),
    };
    Ok(below.ok_or(NOT_THERE)?.saturating_add(1))
}

fn check_group(image: &Image<'_>, group: &GroupRecord) -> Result<(), Complaint> {
    for part in [group.category, group.product, group.service] {
        text_or_unset(image, part)?;
    }
    within(image.rules, group.rules, "its rules lie outside")?;
    within(image.predicates, group.predicates, "its predicates lie outside")?;
    within(image.automata, group.automata, "its automata lie outside")?;
    let automata = super::slice(image.automata, group.automata);
    must(automata.iter().all(|automaton| automaton.field.get() != NONE), "has an automaton for no field")?;
    let keywords = group.keywords.get();
    must(keywords == NONE || is_in(image.automata, keywords), "its automaton for keywords is not there")?;
    list_of(image, group.always, image.rules.len(), "its rules are not there")
}

fn check_rule(image: &Image<'_>, rule: &RuleRecord) -> Result<(), Complaint> {
    name(image, rule.id)?;
    name(image, rule.title)?;
    text(image, rule.tags)?;
    text(image, rule.file)?;
    text_or_unset(image, rule.author)?;
    must(rule.level.get() <= LEVEL_MAX, "has an unknown level")?;
    must(rule.action.get() <= ACTION_DENY_NEXT, "has an unknown action")?;
    must(rule.mode.get() <= MODE_ENFORCE, "has an unknown mode")?;
    check_asks(image, rule.asks)?;
    within(image.selections, rule.selections, "its selections lie outside")?;
    must(is_in(image.nodes, rule.root.get()), "its condition is not there")?;
    let code = rule.code.get();
    must(code == ACCEPT || code == REJECT || is_in(image.code, code), "its code is not there")?;
    list_of(image, rule.fields, image.fields.len(), "its fields are not there")
}

/// Threes of a slot, types and a line.
fn check_asks(image: &Image<'_>, asks: Range) -> Result<(), Complaint> {
    within(image.words, asks, "what it asks for lies outside")?;
    let (threes, rest) = image.words_of(asks).as_chunks::<3>();
    must(rest.is_empty(), "what it asks for is not whole")?;
    let is_known = |[slot, types, _]: &[Word; 3]| is_in(image.fields, slot.get()) && types.get() & !TYPE_ANY == 0;
    must(threes.iter().all(is_known), "asks for what is not there")
}
