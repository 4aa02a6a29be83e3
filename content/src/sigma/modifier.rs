//! The modifiers behind a field's name: `CommandLine|contains|all`.
//!
//! Modifiers are sorted into what they change (the comparison, the text, how values join), so that what contradicts is found
//! here and the rest of the reader never meets a combination that it can't carry out.

use crate::rule::RegexFlags;
use crate::rule::{Comparison, Place, TimePart};

use watertight_engine::image::is_plain;

use super::encode::Utf16;
use super::reason::{did_you_mean, Reason};

/// Every modifier that is known.
const MODIFIERS: [&str; 31] = [
    "all",
    "neq",
    "cased",
    "windash",
    "expand",
    "startswith",
    "endswith",
    "contains",
    "lt",
    "lte",
    "gt",
    "gte",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "re",
    "i",
    "m",
    "s",
    "cidr",
    "exists",
    "fieldref",
    "utf16le",
    "wide",
    "utf16be",
    "utf16",
    "base64",
    "base64offset",
];

/// The mend of a modifier that has nothing to change.
const REMOVE: &str = "remove it";

/// A field's name, `None` for keywords, with its modifiers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) field: Option<String>,
    /// The whole key as written, for messages.
    pub(crate) key: String,
    /// The modifiers as written, for explanations.
    pub(crate) modifiers: String,
    pub(crate) kind: Kind,
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) joins_all: bool,
    pub(crate) is_negated: bool,
    pub(crate) is_cased: bool,
    pub(crate) widens_dashes: bool,
    pub(crate) expands: bool,
}

/// What kind of comparison the modifiers ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Text(Option<Place>),
    Regex(RegexFlags),
    Compare(Comparison),
    Time(TimePart, Comparison),
    Cidr,
    Exists,
    SameAs(Place),
}

/// A change to the text before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf16(Utf16),
    Base64,
    Base64AtOffsets,
}

/// What has been read of the comparison so far, with the modifier that said so.
#[derive(Default)]
struct Parts<'k> {
    place: Option<(&'k str, Place)>,
    comparison: Option<(&'k str, Comparison)>,
    time: Option<(&'k str, TimePart)>,
    regex: Option<(&'k str, RegexFlags)>,
    cidr: Option<&'k str>,
    exists: Option<&'k str>,
    field_ref: Option<&'k str>,
}

impl Question {
    /// Reads a key of a selection.
    pub(crate) fn read(key: &str) -> Result<Self, Reason> {
        let (field, modifiers) = key.split_once('|').unwrap_or((key, ""));
        let mut question = Self {
            field: (!field.is_empty()).then(|| field.to_owned()),
            key: key.to_owned(),
            modifiers: modifiers.to_owned(),
            kind: Kind::Text(None),
            encodings: Vec::new(),
            joins_all: false,
            is_negated: false,
            is_cased: false,
            widens_dashes: false,
            expands: false,
        };
        let mut parts = Parts::default();
        if key.contains('|') {
            for modifier in modifiers.split('|') {
                question.accept(modifier, &mut parts)?;
            }
        }
        if !field.chars().all(is_plain) {
            return Err(Reason::NotPlain { field: "field", text: field.to_owned() });
        }
        question.kind = question.kind_of(&parts)?;
        question.check(&parts)?;
        Ok(question)
    }

    fn accept<'k>(&mut self, modifier: &'k str, parts: &mut Parts<'k>) -> Result<(), Reason> {
        match modifier {
            "all" => self.joins_all = true,
            "neq" => self.is_negated = true,
            "cased" => self.is_cased = true,
            "windash" => self.widens_dashes = true,
            "expand" => self.expands = true,
            "startswith" => self.set(&mut parts.place, modifier, Place::Start)?,
            "endswith" => self.set(&mut parts.place, modifier, Place::End)?,
            "contains" => self.set(&mut parts.place, modifier, Place::Anywhere)?,
            "lt" => self.set(&mut parts.comparison, modifier, Comparison::Less)?,
            "lte" => self.set(&mut parts.comparison, modifier, Comparison::LessOrEqual)?,
            "gt" => self.set(&mut parts.comparison, modifier, Comparison::Greater)?,
            "gte" => self.set(&mut parts.comparison, modifier, Comparison::GreaterOrEqual)?,
            "minute" => self.set(&mut parts.time, modifier, TimePart::Minute)?,
            "hour" => self.set(&mut parts.time, modifier, TimePart::Hour)?,
            "day" => self.set(&mut parts.time, modifier, TimePart::Day)?,
            "week" => self.set(&mut parts.time, modifier, TimePart::Week)?,
            "month" => self.set(&mut parts.time, modifier, TimePart::Month)?,
            "year" => self.set(&mut parts.time, modifier, TimePart::Year)?,
            "re" => self.set(&mut parts.regex, modifier, RegexFlags::default())?,
            "i" | "m" | "s" => match &mut parts.regex {
                Some((_, flags)) if modifier == "i" => flags.ignores_case = true,
                Some((_, flags)) if modifier == "m" => flags.is_multi_line = true,
                Some((_, flags)) => flags.dot_matches_line_feed = true,
                None => return Err(self.misplaced(modifier, "belongs behind re", "write re first")),
            },
            "cidr" => parts.cidr = Some(modifier),
            "exists" => parts.exists = Some(modifier),
            "fieldref" => parts.field_ref = Some(modifier),
            "utf16le" | "wide" => self.encodings.push(Encoding::Utf16(Utf16::Little)),
            "utf16be" => self.encodings.push(Encoding::Utf16(Utf16::Big)),
            "utf16" => self.encodings.push(Encoding::Utf16(Utf16::Marked)),
            "base64" => self.encodings.push(Encoding::Base64),
            "base64offset" => self.encodings.push(Encoding::Base64AtOffsets),
            other => {
                let mend = did_you_mean(other, MODIFIERS, "remove it or correct its spelling");
                return Err(Reason::UnknownModifier { field: self.key.clone(), modifier: other.to_owned(), mend });
            }
        }
        Ok(())
    }

    fn set<'k, T: PartialEq>(&self, place: &mut Option<(&'k str, T)>, name: &'k str, value: T) -> Result<(), Reason> {
        match place {
            Some((known, other)) if *other != value => Err(self.conflict(known, name)),
            _ => {
                *place = Some((name, value));
                Ok(())
            }
        }
    }

    fn kind_of(&self, parts: &Parts<'_>) -> Result<Kind, Reason> {
        // A time part may carry a comparison, and a field reference a place; all other kinds exclude each other.
        let mut kinds: Vec<(&str, Kind)> = Vec::new();
        let place = parts.place.map(|(_, place)| place);
        match (parts.field_ref, parts.place) {
            (Some(name), _) => kinds.push((name, Kind::SameAs(place.unwrap_or(Place::Whole)))),
            (None, Some((name, place))) => kinds.push((name, Kind::Text(Some(place)))),
            (None, None) => {}
        }
        match (parts.time, parts.comparison) {
            (Some((name, part)), comparison) => {
                let by = comparison.map_or(Comparison::Equal, |(_, by)| by);
                kinds.push((name, Kind::Time(part, by)));
            }
            (None, Some((name, by))) => kinds.push((name, Kind::Compare(by))),
            (None, None) => {}
        }
        kinds.extend(parts.regex.map(|(name, flags)| (name, Kind::Regex(flags))));
        kinds.extend(parts.cidr.map(|name| (name, Kind::Cidr)));
        kinds.extend(parts.exists.map(|name| (name, Kind::Exists)));
        match kinds.as_slice() {
            [] => Ok(Kind::Text(None)),
            [(_, kind)] => Ok(*kind),
            [(first, _), (second, _), ..] => Err(self.conflict(first, second)),
        }
    }

    fn check(&self, parts: &Parts<'_>) -> Result<(), Reason> {
        let is_text = matches!(self.kind, Kind::Text(_));
        if !is_text && !self.encodings.is_empty() {
            return Err(self.misplaced(
                "base64 or utf16",
                "changes text, but the comparison is not one of text",
                REMOVE,
            ));
        }
        if !is_text && self.widens_dashes {
            return Err(self.misplaced("windash", "changes text, but the comparison is not one of text", REMOVE));
        }
        if self.widens_dashes && !self.encodings.is_empty() {
            return Err(self.misplaced("windash", "can't be combined with an encoding", "write the variants out"));
        }
        if self.is_cased && !matches!(self.kind, Kind::Text(_) | Kind::SameAs(_) | Kind::Regex(_)) {
            return Err(self.misplaced("cased", "concerns text, but the comparison is not one of text", REMOVE));
        }
        if self.is_cased && matches!(self.kind, Kind::Regex(flags) if flags.ignores_case) {
            return Err(self.conflict("cased", "i"));
        }
        if let Some(position) = self.encodings.iter().position(|step| !matches!(step, Encoding::Utf16(_))) {
            if self.encodings.len() > position.saturating_add(1) {
                return Err(self.misplaced("base64", "must be the last encoding", "encode to UTF-16 before it"));
            }
        }
        if self.encodings.len() > 2
            || self.encodings.iter().filter(|step| matches!(step, Encoding::Utf16(_))).count() > 1
        {
            return Err(self.misplaced("utf16", "is there twice", "keep one"));
        }
        if self.field.is_none() && matches!(self.kind, Kind::SameAs(_) | Kind::Exists) {
            let name = parts.field_ref.or(parts.exists).unwrap_or_default();
            return Err(self.misplaced(name, "asks about one field", "name it before the modifier"));
        }
        Ok(())
    }

    fn conflict(&self, first: &str, second: &str) -> Reason {
        Reason::ConflictingModifiers { field: self.key.clone(), first: first.to_owned(), second: second.to_owned() }
    }

    fn misplaced(&self, modifier: &str, why: &'static str, mend: &'static str) -> Reason {
        Reason::MisplacedModifier { field: self.key.clone(), modifier: modifier.to_owned(), why, mend }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_that_contradict_or_stand_alone_are_refused() {
        let refused = [
            "a|contains|startswith",
            "a|re|contains",
            "a|i",
            "a|lt|gt",
            "a|cidr|windash",
            "a|base64|wide",
            "a|Contains",
            "a|",
            "|exists",
            "|fieldref",
            "a|nonsense",
            "a|cidr|re",
        ];
        for key in refused {
            assert!(Question::read(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_field_reference_takes_a_place_and_a_time_part_a_comparison() {
        assert_eq!(Question::read("a|fieldref|endswith").map(|q| q.kind), Ok(Kind::SameAs(Place::End)));
        assert_eq!(
            Question::read("a|hour|gte").map(|q| q.kind),
            Ok(Kind::Time(TimePart::Hour, Comparison::GreaterOrEqual))
        );
        assert_eq!(Question::read("|all").map(|q| (q.field, q.joins_all)), Ok((None, true)));
    }
}
