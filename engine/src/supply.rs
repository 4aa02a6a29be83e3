//! Whether a host has what an image asks for: each field that a rule names, of a type that can answer.
//!
//! Content is made elsewhere and may be made for another sensor. A rule whose field is not there would sleep for ever and look like
//! protection, so an image with such a rule is refused whole, by rule, field and line.

use crate::image::layout::{
    CorrelationRecord, GroupRecord, RuleRecord, Word, CORRELATE_VALUES, NONE, TYPE_ANY, TYPE_NUMBER, TYPE_SIGNED,
};
use crate::image::{at, slice, Image, LogSource};

/// Values that a sum, a mean or a bound of numbers can be taken of.
const AMOUNTS: u32 = TYPE_NUMBER | TYPE_SIGNED;

/// What a host's events have: the `TYPE_` bits of a field in events of a log source, 0 where they have no such field, `None` where
/// there are no such events.
pub type Types<'t> = &'t dyn Fn(&LogSource<'_>, &str) -> Option<u32>;

/// A question that can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}, line {line}: {}: the content is for another sensor", self.what())]
pub struct Unsupplied {
    /// The rule's id.
    pub rule: String,
    /// The field.
    pub field: String,
    /// The line that asks, in the rule's file; 0 where that is not known.
    pub line: u32,
    /// The types of the field here; 0 where there is none.
    pub types: u32,
}

impl Unsupplied {
    fn what(&self) -> String {
        match self.types {
            0 => format!("the field {} is not supplied", self.field),
            _ => format!("the field {} is of another type", self.field),
        }
    }
}

impl<'i> Image<'i> {
    /// The first question that a host with these types could not answer.
    ///
    /// # Errors
    /// There is one.
    pub fn check_supply(&self, types: Types<'_>) -> Result<(), Unsupplied> {
        for group in self.groups {
            let logsource = self.log_source(group);
            for rule in slice(self.rules, group.rules) {
                for [slot, wanted, line] in self.asks(rule) {
                    self.must_have(types, &logsource, rule, (slot.get(), wanted.get(), line.get()))?;
                }
            }
        }
        self.correlations.iter().try_for_each(|correlation| self.check_correlation_supply(types, correlation))
    }

    /// What groups, joins and measures events must be in the events of the rules that are listened to. What is looked at here is what is
    /// evaluated; the correlation's own questions only tell the lines.
    fn check_correlation_supply(&self, types: Types<'_>, correlation: &CorrelationRecord) -> Result<(), Unsupplied> {
        let Some(rule) = at(self.rules, correlation.rule.get()) else { return Ok(()) };
        let amounts = if correlation.kind.get() == CORRELATE_VALUES { TYPE_ANY } else { AMOUNTS };
        let mut asks = self.asks(rule).iter();
        for input in slice(self.inputs, correlation.inputs) {
            // A correlation that is listened to is in no group: it was looked at by itself.
            let Some(group) = self.groups.iter().find(|group| has_rule(group, input.rule.get())) else { continue };
            let logsource = self.log_source(group);
            let parts = self.words_of(input.parts).iter().map(|slot| (slot.get(), TYPE_ANY));
            for (slot, wanted) in parts.chain([(input.value.get(), amounts)]).filter(|(slot, _)| *slot != NONE) {
                let told = asks.next().filter(|[asked, ..]| asked.get() == slot);
                let line = told.map_or(0, |[.., line]| line.get());
                self.must_have(types, &logsource, rule, (slot, wanted, line))?;
            }
        }
        Ok(())
    }

    /// The field at this slot, with values of one of these types, asked for in this line of the rule.
    fn must_have(
        &self,
        types: Types<'_>,
        logsource: &LogSource<'_>,
        rule: &RuleRecord,
        (slot, wanted, line): (u32, u32, u32),
    ) -> Result<(), Unsupplied> {
        let field = at(self.fields, slot).map(|field| self.text(field.name)).unwrap_or_default();
        match types(logsource, field) {
            Some(found) if found & wanted == 0 => {
                let (rule, field) = (self.text(rule.id).to_owned(), field.to_owned());
                Err(Unsupplied { rule, field, line, types: found })
            }
            _ => Ok(()),
        }
    }

    fn asks(&self, rule: &RuleRecord) -> &'i [[Word; 3]] {
        self.words_of(rule.asks).as_chunks::<3>().0
    }
}

fn has_rule(group: &GroupRecord, rule: u32) -> bool {
    rule.checked_sub(group.rules.first.get()).is_some_and(|offset| offset < group.rules.count.get())
}
