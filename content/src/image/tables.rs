//! The tables of an image in the making, with what is the same kept once.

use std::collections::HashMap;

use watertight_engine::image::layout::{
    AutomatonRecord, CodeRecord, CorrelationRecord, ExpressionRecord, FieldRecord, GroupRecord, Header, InputRecord,
    NodeRecord, OutputRecord, PartRecord, PredicateRecord, QuestionRecord, Range, RuleRecord, Section, SectionRecord,
    SelectionRecord, StepRecord, TableEntry, Word, ASK_COMPARE, ASK_EXISTS, ASK_EXPRESSION, ASK_NULL, ASK_SAME_AS,
    ASK_TEXT, ASK_TIME, ASK_WITHIN, AUTOMATON_SHIFT, COMPARE_EQUAL, COMPARE_GREATER, COMPARE_GREATER_OR_EQUAL,
    COMPARE_LESS, COMPARE_LESS_OR_EQUAL, EXPRESSION_PROGRAM, EXPRESSION_TABLE, FLAG_CASED, FLAG_REAL, MAGIC, NODE_ALL,
    NODE_ANY, NODE_IS, NODE_NOT, NODE_SELECTION, NONE, PART_ANY_MANY, PART_ANY_ONE, PART_DASH, PART_LITERAL,
    PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE, TIME_DAY, TIME_HOUR, TIME_MINUTE, TIME_MONTH, TIME_WEEK,
    TIME_YEAR, VERSION,
};
use watertight_engine::Budget;
use zerocopy::IntoBytes;

use super::CompileError;
use crate::rule::{
    parse_regex, steps_of, table_of, Comparison, Expr, Number, Op, Part, Pattern, Place, Predicate, RegexError,
    RegexFlags, Rule, TimePart,
};

/// The tables, by section.
#[derive(Default)]
pub(super) struct Tables {
    bytes: Vec<u8>,
    known_bytes: HashMap<Vec<u8>, Range>,
    words: Vec<Word>,
    fields: Vec<FieldRecord>,
    slots: HashMap<String, u32>,
    pub(super) groups: Vec<GroupRecord>,
    pub(super) rules: Vec<RuleRecord>,
    selections: Vec<SelectionRecord>,
    nodes: Vec<NodeRecord>,
    questions: Vec<QuestionRecord>,
    known_questions: HashMap<QuestionRecordKey, u32>,
    parts: Vec<PartRecord>,
    known_parts: HashMap<Pattern, Range>,
    pub(super) predicates: Vec<PredicateRecord>,
    pub(super) code: Vec<CodeRecord>,
    automata: Vec<AutomatonRecord>,
    states: Vec<Word>,
    outputs: Vec<OutputRecord>,
    expressions: Vec<ExpressionRecord>,
    /// With the least bytes of a text that fits.
    known_expressions: HashMap<(String, RegexFlags), (u32, u32)>,
    tables: Vec<TableEntry>,
    programs: Vec<StepRecord>,
    pub(super) correlations: Vec<CorrelationRecord>,
    pub(super) inputs: Vec<InputRecord>,
    pub(super) silenced: Vec<Word>,
}

/// A question record, comparable.
type QuestionRecordKey = Vec<u8>;

impl Tables {
    /// A text, kept once.
    pub(super) fn text(&mut self, text: &str) -> Range {
        self.keep(text.as_bytes())
    }

    fn keep(&mut self, bytes: &[u8]) -> Range {
        if let Some(known) = self.known_bytes.get(bytes) {
            return *known;
        }
        let range = Range::new(self.bytes.len() as u32, bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self.known_bytes.insert(bytes.to_vec(), range);
        range
    }

    /// A list of numbers.
    pub(super) fn list(&mut self, numbers: &[u32]) -> Range {
        let range = Range::new(self.words.len() as u32, numbers.len() as u32);
        self.words.extend(numbers.iter().map(|number| Word::new(*number)));
        range
    }

    /// The slot of a field.
    pub(super) fn slot(&mut self, rule: &Rule, field: &str) -> Result<u32, CompileError> {
        self.slot_of(&rule.id, field)
    }

    /// The slot of a field that a rule or correlation with this id asks for.
    pub(super) fn slot_of(&mut self, id: &str, field: &str) -> Result<u32, CompileError> {
        if let Some(slot) = self.slots.get(field) {
            return Ok(*slot);
        }
        let slot = self.fields.len() as u32;
        if slot > u32::from(u16::MAX) {
            return Err(CompileError::TooMany { rule: id.to_owned(), what: "fields" });
        }
        let name = self.text(field);
        self.fields.push(FieldRecord { name });
        self.slots.insert(field.to_owned(), slot);
        Ok(slot)
    }

    pub(super) fn selections_of(&mut self, names: &[Range]) -> Range {
        let range = Range::new(self.selections.len() as u32, names.len() as u32);
        self.selections.extend(names.iter().map(|name| SelectionRecord { name: *name }));
        range
    }

    pub(super) fn node(&mut self, record: NodeRecord) -> u32 {
        let number = self.nodes.len() as u32;
        self.nodes.push(record);
        number
    }

    /// The condition as it was written; the slots that it asks for are added to `fields`.
    pub(super) fn nodes_of(&mut self, rule: &Rule, expr: &Expr, fields: &mut Vec<u32>) -> Result<u32, CompileError> {
        let (kind, first, count) = match expr {
            Expr::All(parts) | Expr::Any(parts) => {
                let children =
                    parts.iter().map(|part| self.nodes_of(rule, part, fields)).collect::<Result<Vec<_>, _>>()?;
                let range = self.list(&children);
                let kind = if matches!(expr, Expr::All(_)) { NODE_ALL } else { NODE_ANY };
                (kind, range.first.get(), range.count.get())
            }
            Expr::Not(part) => (NODE_NOT, self.nodes_of(rule, part, fields)?, 0),
            Expr::Selection(index) => {
                let selection = rule.selections.get(*index);
                let selection = selection.ok_or_else(|| CompileError::NoSelection { rule: rule.id.clone() })?;
                (NODE_SELECTION, *index as u32, self.nodes_of(rule, &selection.body, fields)?)
            }
            Expr::Is(predicate) => {
                let question = self.question(rule, predicate)?;
                let record = self.questions[question as usize];
                fields.extend(Some(record.field.get()).filter(|slot| *slot != NONE));
                fields.extend((record.kind.get() == ASK_SAME_AS).then(|| record.first.get()));
                (NODE_IS, question, 0)
            }
        };
        Ok(self.node(NodeRecord { kind: kind.into(), first: first.into(), count: count.into() }))
    }

    /// A question, kept once.
    pub(super) fn question(&mut self, rule: &Rule, predicate: &Predicate) -> Result<u32, CompileError> {
        let field = predicate.field.as_deref().map_or(Ok(NONE), |field| self.slot(rule, field))?;
        let source = self.text(&predicate.source);
        let mut record = QuestionRecord { field: field.into(), source, ..QuestionRecord::default() };
        match &predicate.op {
            Op::Text(pattern) => {
                let parts = self.parts_of(pattern);
                record.kind = ASK_TEXT.into();
                record.flags = if pattern.is_cased() { FLAG_CASED } else { 0 }.into();
                (record.first, record.count) = (parts.first, parts.count);
            }
            Op::Regex { pattern, flags } => {
                record.kind = ASK_EXPRESSION.into();
                let (expression, least_bytes) = self.expression(rule, pattern, *flags)?;
                (record.first, record.count) = (expression.into(), least_bytes.into());
            }
            Op::Compare { by, than } => {
                record.kind = ASK_COMPARE.into();
                (record.flags, record.value) = compared(*by, *than);
            }
            Op::Time { part, by, than } => {
                record.kind = ASK_TIME.into();
                record.first = time_part(*part).into();
                (record.flags, record.value) = compared(*by, *than);
            }
            Op::Within(network) => {
                let (octets, prefix_bits) = network.parts();
                let range = self.keep(&octets);
                record.kind = ASK_WITHIN.into();
                record.flags = u32::from(prefix_bits).into();
                (record.first, record.count) = (range.first, range.count);
            }
            Op::Exists(wanted) => {
                record.kind = ASK_EXISTS.into();
                record.flags = u32::from(*wanted).into();
            }
            Op::Null => record.kind = ASK_NULL.into(),
            Op::SameAs { field, place, is_cased } => {
                record.kind = ASK_SAME_AS.into();
                record.first = self.slot(rule, field)?.into();
                record.count = place_number(*place).into();
                record.flags = if *is_cased { FLAG_CASED } else { 0 }.into();
            }
        }
        let next = self.questions.len() as u32;
        let number = *self.known_questions.entry(record.as_bytes().to_vec()).or_insert(next);
        if number == next {
            self.questions.push(record);
        }
        Ok(number)
    }

    fn parts_of(&mut self, pattern: &Pattern) -> Range {
        if let Some(known) = self.known_parts.get(pattern) {
            return *known;
        }
        let records: Vec<PartRecord> = pattern
            .parts()
            .iter()
            .map(|part| match part {
                Part::Literal(text) => PartRecord { kind: PART_LITERAL.into(), text: self.keep(text) },
                Part::AnyOne => PartRecord { kind: PART_ANY_ONE.into(), text: Range::default() },
                Part::AnyMany => PartRecord { kind: PART_ANY_MANY.into(), text: Range::default() },
                Part::Dash => PartRecord { kind: PART_DASH.into(), text: Range::default() },
            })
            .collect();
        let range = Range::new(self.parts.len() as u32, records.len() as u32);
        self.parts.extend(records);
        self.known_parts.insert(pattern.clone(), range);
        range
    }

    /// An expression, kept once, and how many bytes a text that fits has at least.
    fn expression(&mut self, rule: &Rule, pattern: &str, flags: RegexFlags) -> Result<(u32, u32), CompileError> {
        if let Some(known) = self.known_expressions.get(&(pattern.to_owned(), flags)) {
            return Ok(*known);
        }
        let refused = |error| CompileError::Regex { rule: rule.id.clone(), error };
        let hir = parse_regex(pattern, flags).map_err(refused)?;
        let record = if let Some(table) = table_of(&hir) {
            let first = self.tables.len() as u32;
            self.tables.extend(table.entries.iter().map(|entry| TableEntry::new(*entry)));
            ExpressionRecord {
                kind: EXPRESSION_TABLE.into(),
                first: first.into(),
                count: (table.entries.len() as u32).into(),
                classes: self.keep(&table.classes),
                class_count: table.class_count.into(),
                start: table.start.into(),
                match_from: table.match_from.into(),
            }
        } else {
            let too_large = || refused(RegexError::TooLarge { pattern: pattern.to_owned() });
            let (steps, start) = steps_of(&hir).ok_or_else(too_large)?;
            let first = self.programs.len() as u32;
            for step in &steps {
                let ways = self.list(&step.ways);
                let (from, count) =
                    if step.ways.is_empty() { (step.first, step.last) } else { (ways.first.get(), ways.count.get()) };
                self.programs.push(StepRecord {
                    kind: step.kind.into(),
                    first: from.into(),
                    count: count.into(),
                    next: step.next.into(),
                });
            }
            ExpressionRecord {
                kind: EXPRESSION_PROGRAM.into(),
                first: first.into(),
                count: (steps.len() as u32).into(),
                start: start.into(),
                ..ExpressionRecord::default()
            }
        };
        let least_bytes = hir.properties().minimum_len().and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0);
        let known = (self.expressions.len() as u32, least_bytes);
        self.expressions.push(record);
        self.known_expressions.insert((pattern.to_owned(), flags), known);
        Ok(known)
    }

    /// An automaton over the literals of a field, or of all.
    pub(super) fn automaton(&mut self, field: u32, literals: &super::automaton::Literals) -> u32 {
        let layout = literals.layout(self.outputs.len() as u32);
        for output in &layout.outputs {
            let uses = self.list(&output.uses);
            self.outputs.push(OutputRecord { size_bytes: output.size_bytes.into(), uses, next: output.next.into() });
        }
        let states = Range::new(self.states.len() as u32, layout.states.len() as u32);
        self.states.extend(layout.states.iter().map(|word| Word::new(*word)));
        let number = self.automata.len() as u32;
        let record = AutomatonRecord {
            field: field.into(),
            classes: self.keep(&layout.classes),
            class_count: layout.class_count.into(),
            states,
            longest_bytes: (layout.from << AUTOMATON_SHIFT | layout.longest_bytes).into(),
        };
        self.automata.push(record);
        number
    }

    /// How many automata there are.
    pub(super) fn automata(&self) -> u32 {
        self.automata.len() as u32
    }

    /// All of it as an image.
    pub(super) fn finish(&self, flags: u32, budget: Budget) -> Vec<u8> {
        let sections: [&[u8]; Section::ALL.len()] = [
            &self.bytes,
            self.words.as_bytes(),
            self.fields.as_bytes(),
            self.groups.as_bytes(),
            self.rules.as_bytes(),
            self.selections.as_bytes(),
            self.nodes.as_bytes(),
            self.questions.as_bytes(),
            self.parts.as_bytes(),
            self.predicates.as_bytes(),
            self.code.as_bytes(),
            self.automata.as_bytes(),
            self.states.as_bytes(),
            self.outputs.as_bytes(),
            self.expressions.as_bytes(),
            self.tables.as_bytes(),
            self.programs.as_bytes(),
            self.correlations.as_bytes(),
            self.inputs.as_bytes(),
            self.silenced.as_bytes(),
        ];
        let mut offset = size_of::<Header>() + size_of::<SectionRecord>() * sections.len();
        let mut directory = Vec::with_capacity(sections.len());
        for (section, bytes) in Section::ALL.iter().zip(sections) {
            directory.push(SectionRecord {
                kind: (*section as u32).into(),
                reserved: 0.into(),
                offset: (offset as u64).into(),
                size_bytes: (bytes.len() as u64).into(),
            });
            offset += bytes.len();
        }
        let header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            flags: flags.into(),
            size_bytes: (offset as u64).into(),
            sections: (sections.len() as u32).into(),
            reserved: 0.into(),
            budget: budget.record(),
        };
        [header.as_bytes(), directory.as_bytes()].into_iter().chain(sections).flatten().copied().collect()
    }
}

/// Flags and bits of a comparison.
fn compared<F: From<u32>, V: From<u64>>(by: Comparison, than: Number) -> (F, V) {
    let by = match by {
        Comparison::Equal => COMPARE_EQUAL,
        Comparison::Less => COMPARE_LESS,
        Comparison::LessOrEqual => COMPARE_LESS_OR_EQUAL,
        Comparison::Greater => COMPARE_GREATER,
        Comparison::GreaterOrEqual => COMPARE_GREATER_OR_EQUAL,
    };
    match than {
        Number::Int(number) => (by.into(), u64::from_le_bytes(number.to_le_bytes()).into()),
        Number::Real(number) => ((by | FLAG_REAL).into(), number.to_bits().into()),
    }
}

fn time_part(part: TimePart) -> u32 {
    match part {
        TimePart::Minute => TIME_MINUTE,
        TimePart::Hour => TIME_HOUR,
        TimePart::Day => TIME_DAY,
        TimePart::Week => TIME_WEEK,
        TimePart::Month => TIME_MONTH,
        TimePart::Year => TIME_YEAR,
    }
}

pub(super) fn place_number(place: Place) -> u32 {
    match place {
        Place::Anywhere => PLACE_ANYWHERE,
        Place::Start => PLACE_START,
        Place::End => PLACE_END,
        Place::Whole => PLACE_WHOLE,
    }
}
