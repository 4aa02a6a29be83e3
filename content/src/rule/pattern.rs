//! Texts with wildcards.

use watertight_engine::fold_text;

use super::Place;

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// These bytes.
    Literal(Vec<u8>),
    /// Any one character; a byte that is not UTF-8 counts as one.
    AnyOne,
    /// Any characters, or none.
    AnyMany,
    /// One of `-`, `/`, en dash, em dash, horizontal bar.
    Dash,
}

/// A text with wildcards that a whole value is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    parts: Vec<Part>,
    is_cased: bool,
}

impl Pattern {
    /// The pattern that finds `parts` at `place` in a value. Unless `is_cased`, the literals are folded here, once.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Part>, place: Place, is_cased: bool) -> Self {
        let mut pattern = Self { parts: Vec::new(), is_cased };
        if matches!(place, Place::End | Place::Anywhere) {
            pattern.push(Part::AnyMany);
        }
        for part in parts {
            pattern.push(part);
        }
        if matches!(place, Place::Start | Place::Anywhere) {
            pattern.push(Part::AnyMany);
        }
        pattern
    }

    /// The parts in order; neighbouring literals and neighbouring `AnyMany` are one.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether case matters.
    #[must_use]
    pub fn is_cased(&self) -> bool {
        self.is_cased
    }

    fn push(&mut self, part: Part) {
        let part = match part {
            Part::Literal(literal) if literal.is_empty() => return,
            Part::Literal(literal) if !self.is_cased => Part::Literal(fold_text(&literal)),
            other => other,
        };
        match (self.parts.last_mut(), part) {
            (Some(Part::Literal(before)), Part::Literal(literal)) => before.extend_from_slice(&literal),
            (Some(Part::AnyMany), Part::AnyMany) => {}
            (_, part) => self.parts.push(part),
        }
    }
}
