//! Whether a host has what an image asks for: each field that a rule names, of a type that can answer.
//!
//! Content is made elsewhere and may be made for another sensor. A rule whose field is not there would sleep for ever and look like
//! protection, so an image with such a rule is refused whole, by rule, field and line.

use crate::image::layout::{RuleRecord, Word};
use crate::image::{at, slice, Image, LogSource};

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
                    let field = at(self.fields, slot.get()).map(|field| self.text(field.name)).unwrap_or_default();
                    match types(&logsource, field) {
                        Some(found) if found & wanted.get() == 0 => {
                            let (rule, field) = (self.text(rule.id).to_owned(), field.to_owned());
                            return Err(Unsupplied { rule, field, line: line.get(), types: found });
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn asks(&self, rule: &RuleRecord) -> &'i [[Word; 3]] {
        self.words_of(rule.asks).as_chunks::<3>().0
    }
}
