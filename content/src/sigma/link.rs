//! Looks up what correlations refer to, once all files are read: rules and other correlations, by id or name.

use std::collections::HashMap;

use watertight_engine::image::CHAIN_MAX;

use super::correlation::problem;
use super::load::{same_id, Loaded, LoadedCorrelation};
use super::rejection::{At, Reason};
use crate::image::{Correlation as Compiled, Input as CompiledInput, Listened, Place, Source};
use crate::rule::{Correlation, Input, InputSource, KeyField, Kind, Measure, Rule};

/// Correlations with what they refer to, in an order in which none stands on a later one.
#[derive(Debug, Default)]
pub(super) struct Linked<'l> {
    /// All rules: those of the library, then those that stand in sequences.
    pub(super) sources: Vec<Source<'l>>,
    pub(super) correlations: Vec<Compiled<'l>>,
    /// For each of `correlations` its position in the library.
    pub(super) origins: Vec<usize>,
    /// Those of the library that can't be, with the reason.
    pub(super) failed: Vec<(usize, At)>,
}

/// What a correlation may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Rule(usize),
    /// In the library, which is not its position among the linked.
    Correlation(usize),
}

struct Names {
    by_id: HashMap<String, Known>,
    by_name: HashMap<String, Vec<Known>>,
}

/// Links all correlations of a library; `excepted` are its rules with their exceptions in them.
pub(super) fn link<'l>(rules: &'l [Loaded], excepted: &'l [Rule], correlations: &'l [LoadedCorrelation]) -> Linked<'l> {
    let names = Names::of(rules, correlations);
    let mut linked = Linked::default();
    let with = rules.iter().zip(excepted);
    linked.sources.extend(with.map(|(Loaded { file, line, .. }, rule)| Source { rule, file, line: *line }));
    // By position in the library: that among the linked, and how many stand on one another there.
    let mut done: HashMap<usize, (usize, u32)> = HashMap::new();
    let mut left: Vec<usize> = (0..correlations.len()).collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|position| {
            let Some(loaded) = correlations.get(*position) else { return false };
            match link_one(loaded, &names, correlations, &done, &mut linked.sources) {
                Ok(Some((compiled, depth))) => {
                    done.insert(*position, (linked.correlations.len(), depth));
                    linked.correlations.push(compiled);
                    linked.origins.push(*position);
                    false
                }
                Ok(None) => true, // waits for one that it stands on
                Err(at) => {
                    linked.failed.push((*position, at));
                    false
                }
            }
        });
        if left.len() == before {
            // Those in a circle, and those that stand on one which failed: the next turn tells the latter better.
            let is_final = linked.failed.is_empty();
            for position in left.drain(..).filter(|_| is_final) {
                let inputs = correlations.get(position).map(|loaded| loaded.correlation.inputs.as_slice());
                let place = inputs.and_then(<[Input]>::first).map_or(0.into(), |input| input.span);
                let words = "correlations that refer to one another in a circle never fire: remove a reference";
                linked.failed.push((position, problem(words).at(place)));
            }
        }
    }
    linked
}

impl Names {
    fn of(rules: &[Loaded], correlations: &[LoadedCorrelation]) -> Self {
        let mut names = Self { by_id: HashMap::new(), by_name: HashMap::new() };
        for (position, loaded) in rules.iter().enumerate() {
            names.add(&loaded.rule.id, loaded.name.as_deref(), Known::Rule(position));
        }
        for (position, loaded) in correlations.iter().enumerate() {
            names.add(&loaded.correlation.id, loaded.name.as_deref(), Known::Correlation(position));
        }
        names
    }

    fn add(&mut self, id: &str, name: Option<&str>, known: Known) {
        self.by_id.insert(same_id(id), known);
        if let Some(name) = name {
            self.by_name.entry(name.to_owned()).or_default().push(known);
        }
    }

    fn find(&self, reference: &str) -> Result<Known, Reason> {
        if let Some(known) = self.by_id.get(&same_id(reference)) {
            return Ok(*known);
        }
        match self.by_name.get(reference).map(Vec::as_slice) {
            Some([known]) => Ok(*known),
            Some([_, _, ..]) => Err(Reason::AmbiguousRule { reference: reference.to_owned() }),
            _ => Err(Reason::NoSuchRule { reference: reference.to_owned() }),
        }
    }
}

/// The correlation with what it refers to, and how many stand on one another; `None` while one that it stands on is not linked.
fn link_one<'l>(
    loaded: &'l LoadedCorrelation,
    names: &Names,
    correlations: &'l [LoadedCorrelation],
    done: &HashMap<usize, (usize, u32)>,
    sources: &mut Vec<Source<'l>>,
) -> Result<Option<(Compiled<'l>, u32)>, At> {
    let correlation = &loaded.correlation;
    let (mut inputs, mut depth) = (Vec::with_capacity(correlation.inputs.len()), 0);
    let mut inline = Vec::new();
    for input in &correlation.inputs {
        let (target, inner) = match &input.source {
            InputSource::Inline(rule) => {
                inline.push(Source { rule, file: &loaded.file, line: input.span.line });
                (Listened::Rule(sources.len() + inline.len() - 1), None)
            }
            InputSource::Named { reference, .. } => {
                match names.find(reference).map_err(|reason| reason.at(input.span))? {
                    Known::Rule(position) => (Listened::Rule(position), None),
                    Known::Correlation(position) => {
                        let Some((place, inner_depth)) = done.get(&position) else { return Ok(None) };
                        depth = depth.max(*inner_depth);
                        let inner = correlations.get(position).map(|inner| &inner.correlation);
                        (Listened::Correlation(*place), inner)
                    }
                }
            }
        };
        inputs.push(link_input(correlation, input, target, inner, names)?);
    }
    let depth = depth.saturating_add(1);
    if depth > CHAIN_MAX {
        let words = format!("more than {CHAIN_MAX} correlations stand on one another: join some of them");
        return Err(problem(words).at(loaded.line));
    }
    sources.extend(inline);
    Ok(Some((Compiled { correlation, file: &loaded.file, line: loaded.line, inputs }, depth)))
}

fn link_input(
    correlation: &Correlation,
    input: &Input,
    target: Listened,
    inner: Option<&Correlation>,
    names: &Names,
) -> Result<CompiledInput, At> {
    let refused = |words: String| problem(words).at(input.span);
    let place = |field: &KeyField| match inner {
        None => Ok(Place::Field(field.clone())),
        Some(inner) => {
            let part =
                inner.group_by.iter().position(|name| *name == field.field).and_then(|part| u32::try_from(part).ok());
            let missing = || {
                let has = if inner.group_by.is_empty() { "nothing".to_owned() } else { inner.group_by.join(", ") };
                refused(format!(
                    "{:?} is no field that {:?} groups by ({has}), and a correlation passes on those alone: add it there",
                    field.field, input.name
                ))
            };
            part.map(Place::Part).ok_or_else(missing)
        }
    };
    let mut places = Vec::with_capacity(input.fields.len());
    for (part, field) in input.fields.iter().enumerate() {
        let Some(field) = field else {
            places.push(None);
            continue;
        };
        places.push(Some(place(aliased(input, part, field, names)?)?));
    }
    let is_number = matches!(
        correlation.kind,
        Kind::Window { measure: Measure::Sum | Measure::Average | Measure::Least | Measure::Greatest, .. }
    );
    if is_number && inner.is_some() {
        return Err(refused(format!("{:?} is a correlation, which has no numbers to measure: name rules", input.name)));
    }
    Ok(CompiledInput {
        name: input.name.clone(),
        target,
        parts: places,
        value: input.value.as_ref().map(place).transpose()?,
        joins: input.joins,
        differs: input.differs,
        folds: input.folds,
    })
}

/// The field that a part of the key means for this input.
fn aliased<'i>(input: &'i Input, part: usize, field: &'i KeyField, names: &Names) -> Result<&'i KeyField, At> {
    let InputSource::Named { reference, aliases } = &input.source else { return Ok(field) };
    let Some(by_rule) = aliases.get(part).filter(|by_rule| !by_rule.is_empty()) else { return Ok(field) };
    let wanted = names.find(reference).ok();
    let of_this = by_rule.iter().find(|(rule, _)| names.find(rule).ok() == wanted);
    let alias = &field.field;
    of_this
        .map(|(_, field)| field)
        .ok_or_else(|| problem(format!("alias {alias:?} has no field for rule {reference:?}: add one")).at(input.span))
}
