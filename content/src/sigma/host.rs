//! Rules for a host: what its events do not have, or have otherwise than a rule asks, refuses the rule by field and line.
//!
//! The one event table says what there is. Rules over recordings of other sensors (`detect`) are compiled without this, and a host
//! does not load such an image.

use watertight_engine::image::layout;
use watertight_engine::LogSource;
use watertight_event::{sigma_supply, sigma_types, Type};

use super::correlation::IDENTITIES;
use super::exception::{apply, in_words, Exception};
use super::link::link;
use super::reason::did_you_mean;
use super::rejection::{At, Kind, Reason};
use super::{Library, Loaded, LoadedException};
use crate::image::{types, Correlation, Listened, Source};
use crate::rule::{Expr, FieldUse, InputSource, Op, Predicate, Rule, Selection};

/// The product of this host's events.
const PRODUCT: &str = "linux";

// The engine knows types by the bits of the event table.
const _: () = assert!(layout::TYPE_BOOL == Type::Bool.bit() && layout::TYPE_NUMBER == Type::Number.bit());
const _: () = assert!(layout::TYPE_SIGNED == Type::Signed.bit() && layout::TYPE_TEXT == Type::Text.bit());
const _: () = assert!(layout::TYPE_LIST == Type::List.bit() && layout::TYPE_ADDRESS == Type::Address.bit());

/// The types of a field in this host's events of a log source; 0 where they have no such field, `None` where there are no such events.
#[must_use]
pub fn types_here(logsource: &LogSource<'_>, field: &str) -> Option<u32> {
    let is_ours = logsource.product.is_none_or(|product| product == PRODUCT) && logsource.service.is_none();
    if is_ours {
        sigma_types(logsource.category, field)
    } else {
        None
    }
}

/// Moves the rules, correlations and exceptions that ask for what is not here to the rejections. An exception that does is left out by
/// itself, so that a mistake in it does not take a rule with it.
pub(super) fn refuse_unsupplied(library: &mut Library) {
    let found = apply(library).exceptions;
    let mut kept = Vec::new();
    for (loaded, found) in std::mem::take(&mut library.exceptions).into_iter().zip(found) {
        let mut rules = found.rules.iter().filter_map(|position| library.rules.get(*position));
        let of_exception = |rule: &Loaded| {
            let LoadedException { exception, .. } = &loaded;
            let asked = Asked { selections: &exception.selections, uses: &exception.uses };
            asked.problem(&exception.excluded, &rule.rule.logsource)
        };
        match rules.find_map(of_exception) {
            None => kept.push(loaded),
            Some(at) => {
                library.reject(Kind::Exception, loaded.exception.id, &loaded.file, at);
            }
        }
    }
    library.exceptions = kept;
    let mut kept = Vec::new();
    for loaded in std::mem::take(&mut library.rules) {
        let asked = Asked { selections: &loaded.rule.selections, uses: &loaded.rule.uses };
        match asked.problem(&loaded.rule.condition, &loaded.rule.logsource) {
            None => kept.push(loaded),
            Some(at) => {
                library.reject(Kind::Rule, loaded.rule.id, &loaded.file, at);
            }
        }
    }
    library.rules = kept;
    for (position, at) in unsupplied_together(library).into_iter().rev() {
        library.refuse_correlation(position, at);
    }
}

/// The correlations that ask for what is not here, by their positions, and where. Those that can't be linked have a reason of their own.
fn unsupplied_together(library: &Library) -> Vec<(usize, At)> {
    let applied = apply(library);
    let linked = link(&library.rules, &applied.rules, &applied.correlations);
    let mut found: Vec<(usize, At)> = Vec::new();
    for (origin, compiled) in linked.origins.iter().zip(&linked.correlations) {
        let own = library.correlations.get(*origin).map(|loaded| &loaded.correlation);
        let mut stages = own.into_iter().flat_map(|own| &own.inputs).filter_map(|input| match &input.source {
            InputSource::Inline(stage) => Some(stage),
            InputSource::Named { .. } => None,
        });
        let in_stage = stages.find_map(|stage| {
            let Rule { selections, uses, condition, logsource, .. } = stage.as_ref();
            Asked { selections, uses }.problem(condition, logsource)
        });
        found.extend(in_stage.or_else(|| unsupplied_key(compiled, &linked.sources)).map(|at| (*origin, at)));
    }
    found.sort_by_key(|(position, _)| *position);
    found
}

/// The first field that groups, joins or measures, and that the events of the rule there do not have.
fn unsupplied_key(compiled: &Correlation<'_>, sources: &[Source<'_>]) -> Option<At> {
    compiled.inputs.iter().find_map(|input| {
        let Listened::Rule(position) = input.target else { return None };
        let logsource = &sources.get(position)?.rule.logsource;
        input.asks(&compiled.correlation.kind).find_map(|(named, wanted)| {
            let found = types_here(&logsource.lend(), &named.field).filter(|found| found & wanted == 0)?;
            // What is grouped or joined by may be anything.
            Some(reason(&named.field, found, logsource, &measured).at(named.span))
        })
    })
}

fn measured(field: String, found: String, logsource: String) -> Reason {
    Reason::NotMeasured { field, found, logsource }
}

fn asked_so(field: String, found: String, logsource: String) -> Reason {
    Reason::WrongFieldType { field, found, logsource }
}

/// What is wrong with a field that has these types here, and not one that is asked for; `of_type` says it where it has some.
fn reason(
    field: &str,
    found: u32,
    logsource: &crate::rule::LogSource,
    of_type: &dyn Fn(String, String, String) -> Reason,
) -> Reason {
    let (field, in_logsource) = (field.to_owned(), in_words(logsource));
    if found != 0 {
        return of_type(field, type_words(found), in_logsource);
    }
    let supply = sigma_supply();
    let of_category =
        supply.iter().filter(|supply| logsource.category.as_deref().is_none_or(|own| own == supply.category));
    let known: Vec<&str> = of_category.flat_map(|supply| supply.fields.iter().copied()).collect();
    let mend = match IDENTITIES.iter().any(|(_, identity)| *identity == field) {
        // The identity of another process is no misspelling.
        true => {
            let has = IDENTITIES.iter().filter(|(_, identity)| known.contains(identity)).map(|(by, _)| *by);
            format!("its events can be joined by: {}", has.collect::<Vec<_>>().join(", "))
        }
        false => did_you_mean(&field, known, "take it out, or use the rule where its events come from"),
    };
    Reason::NotSupplied { field, logsource: in_logsource, mend }
}

/// Whether this host's events of the log source have what the exception asks for; so they do where there are no such events here.
pub(super) fn is_supplied(exception: &Exception, logsource: &crate::rule::LogSource) -> bool {
    let asked = Asked { selections: &exception.selections, uses: &exception.uses };
    asked.problem(&exception.excluded, logsource).is_none()
}

/// What a condition refers to.
struct Asked<'a> {
    selections: &'a [Selection],
    uses: &'a [FieldUse],
}

impl Asked<'_> {
    /// The first question that this host's events can't answer, and where it stands.
    fn problem(&self, expr: &Expr, logsource: &crate::rule::LogSource) -> Option<At> {
        match expr {
            Expr::All(parts) | Expr::Any(parts) => parts.iter().find_map(|part| self.problem(part, logsource)),
            Expr::Not(part) => self.problem(part, logsource),
            Expr::Selection(position) => {
                self.selections.get(*position).and_then(|selection| self.problem(&selection.body, logsource))
            }
            Expr::Is(predicate) => {
                let field = predicate.field.as_deref()?;
                let of_field = self.question(predicate, field, types(&predicate.op), logsource);
                let of_other = || match &predicate.op {
                    Op::SameAs { field: other, .. } => self.question(predicate, other, layout::TYPE_ANY, logsource),
                    _ => None,
                };
                of_field.or_else(of_other)
            }
        }
    }

    fn question(
        &self,
        predicate: &Predicate,
        field: &str,
        wanted: u32,
        logsource: &crate::rule::LogSource,
    ) -> Option<At> {
        let found = types_here(&logsource.lend(), field).filter(|found| found & wanted == 0)?;
        let asked_by = predicate.field.as_deref().unwrap_or_default();
        let used = match field == asked_by {
            true => FieldUse::of(self.uses, asked_by, predicate),
            false => FieldUse::referred(self.uses, field),
        };
        let span = used.map_or_else(|| 0.into(), |used| used.span);
        Some(reason(field, found, logsource, &asked_so).at(span))
    }
}

/// The types for people.
fn type_words(types: u32) -> String {
    let names = [
        (Type::Bool, "true or false"),
        (Type::Number, "a whole number of 64 bits"),
        (Type::Signed, "a whole number of 64 bits"),
        (Type::Text, "text"),
        (Type::List, "a list of texts"),
        (Type::Address, "an address"),
    ];
    let mut words: Vec<&str> =
        names.iter().filter(|(kind, _)| kind.bit() & types != 0).map(|(_, name)| *name).collect();
    words.dedup();
    words.join(" or ")
}
