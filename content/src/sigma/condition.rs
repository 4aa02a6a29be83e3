//! Conditions: `selection and not 1 of filter_*`.
//!
//! Loosest first: or, and, not, `1 of`. `them` means every selection whose name does not begin with an underscore.

use crate::rule::Expr;

use super::reason::{did_you_mean, Reason};

/// Deepest nesting. The engine allows a few levels more, which selections take.
const DEPTH_MAX: usize = 48;

/// Reads one condition; `names` are the selections by position.
pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Expr, Reason> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, names };
    let condition = parser.or(0)?;
    match parser.tokens.first() {
        None => Ok(condition),
        Some(token) => Err(wrong(format!("{token:?} is not expected there"), token, "join parts by and, or")),
    }
}

/// `part` is what of the condition it is about.
fn wrong(what: impl Into<String>, part: &str, mend: impl Into<String>) -> Reason {
    Reason::Condition { what: what.into(), part: part.to_owned(), mend: mend.into() }
}

/// Words and parentheses.
fn tokens(text: &str) -> Result<Vec<&str>, Reason> {
    if text.contains('|') {
        return Err(wrong("aggregations behind | are not supported", "|", "write a correlation document instead"));
    }
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while let Some(at) = rest.find(['(', ')']) {
            let (before, parenthesis_on) = rest.split_at(at);
            let (parenthesis, after) = parenthesis_on.split_at(1);
            tokens.extend([before, parenthesis].into_iter().filter(|token| !token.is_empty()));
            rest = after;
        }
        if !rest.is_empty() {
            tokens.push(rest);
        }
    }
    Ok(tokens)
}

struct Parser<'t> {
    tokens: &'t [&'t str],
    names: &'t [&'t str],
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn next_if(&mut self, word: &str) -> bool {
        let is_next = self.tokens.first().is_some_and(|token| token.eq_ignore_ascii_case(word));
        if is_next {
            self.next();
        }
        is_next
    }

    fn or(&mut self, depth: usize) -> Result<Expr, Reason> {
        let mut parts = vec![self.and(depth)?];
        while self.next_if("or") {
            parts.push(self.and(depth)?);
        }
        Ok(joined(parts, Expr::Any))
    }

    fn and(&mut self, depth: usize) -> Result<Expr, Reason> {
        let mut parts = vec![self.not(depth)?];
        while self.next_if("and") {
            parts.push(self.not(depth)?);
        }
        Ok(joined(parts, Expr::All))
    }

    fn not(&mut self, depth: usize) -> Result<Expr, Reason> {
        if depth >= DEPTH_MAX {
            return Err(wrong(format!("it nests deeper than {DEPTH_MAX}"), "", "split the rule"));
        }
        let depth = depth.saturating_add(1);
        if self.next_if("not") {
            return Ok(Expr::Not(Box::new(self.not(depth)?)));
        }
        if self.next_if("(") {
            let inner = self.or(depth)?;
            if !self.next_if(")") {
                return Err(wrong("a parenthesis is not closed", "(", "add )"));
            }
            return Ok(inner);
        }
        let is_quantified = self.tokens.get(1).is_some_and(|token| token.eq_ignore_ascii_case("of"));
        match self.next() {
            None => Err(wrong("it ends where a selection is expected", "", "name one")),
            Some(quantifier) if is_quantified => {
                self.next();
                self.of(quantifier)
            }
            Some(name) => self.selection(name),
        }
    }

    fn of(&mut self, quantifier: &str) -> Result<Expr, Reason> {
        let join: fn(Vec<Expr>) -> Expr = match quantifier.to_ascii_lowercase().as_str() {
            "1" | "any" => Expr::Any,
            "all" => Expr::All,
            other => {
                return Err(wrong(format!("{other:?} of is not supported"), quantifier, "use 1 of, any of or all of"))
            }
        };
        let pattern = self.next().ok_or_else(|| wrong("of has nothing behind it", "of", "name a pattern or them"))?;
        let is_them = pattern.eq_ignore_ascii_case("them");
        let fitting = self.names.iter().enumerate().filter(|(_, name)| {
            if is_them {
                !name.starts_with('_')
            } else {
                fits(pattern.as_bytes(), name.as_bytes())
            }
        });
        let parts: Vec<Expr> = fitting.map(|(position, _)| Expr::Selection(position)).collect();
        if parts.is_empty() {
            let names = self.names.iter().copied();
            let mend = did_you_mean(pattern.trim_end_matches('*'), names, self.known("add one or correct the pattern"));
            return Err(Reason::NothingFits { pattern: pattern.to_owned(), mend });
        }
        Ok(join(parts))
    }

    fn selection(&self, name: &str) -> Result<Expr, Reason> {
        match name {
            ")" => Err(wrong("there is a ) where a selection is expected", ")", "name one")),
            word if ["and", "or", "of"].iter().any(|known| word.eq_ignore_ascii_case(known)) => {
                Err(wrong(format!("there is {word:?} where a selection is expected"), word, "name one"))
            }
            name => match self.names.iter().position(|known| *known == name) {
                Some(position) => Ok(Expr::Selection(position)),
                None => {
                    let mend = did_you_mean(name, self.names.iter().copied(), self.known("add it or correct the name"));
                    Err(Reason::UnknownSelection { name: name.to_owned(), mend })
                }
            },
        }
    }

    fn known(&self, mend: &str) -> String {
        match self.names {
            [] => format!("{mend}; there is none"),
            names => format!("{mend}; there are {}", names.join(", ")),
        }
    }
}

fn joined(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

/// Whether the name fits a pattern with `*`; after a mismatch only the last `*` is widened, so the work stays quadratic.
pub(crate) fn fits(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, name));
                pattern = after;
            }
            (Some((wanted, after)), Some((found, rest))) if wanted == found => (pattern, name) = (after, rest),
            (None, None) => return true,
            _ => match retry {
                Some((after, [_, rest @ ..])) => {
                    retry = Some((after, rest));
                    (pattern, name) = (after, rest);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["sel_a", "sel_b", "filter", "_hidden"];

    fn selection(position: usize) -> Expr {
        Expr::Selection(position)
    }

    #[test]
    fn or_binds_looser_than_and_and_and_looser_than_not() {
        let parsed = parse("sel_a or not sel_b and filter", &NAMES).expect("a condition");
        let right = Expr::All(vec![Expr::Not(Box::new(selection(1))), selection(2)]);
        assert_eq!(parsed, Expr::Any(vec![selection(0), right]));
        let parsed = parse("(sel_a OR sel_b)and(not filter)", &NAMES).expect("a condition");
        let left = Expr::Any(vec![selection(0), selection(1)]);
        assert_eq!(parsed, Expr::All(vec![left, Expr::Not(Box::new(selection(2)))]));
    }

    #[test]
    fn them_leaves_out_names_with_an_underscore_and_patterns_take_what_they_say() {
        assert_eq!(parse("1 of them", &NAMES), Ok(Expr::Any(vec![selection(0), selection(1), selection(2)])));
        assert_eq!(parse("all of sel_*", &NAMES), Ok(Expr::All(vec![selection(0), selection(1)])));
        assert_eq!(parse("any of _*", &NAMES), Ok(Expr::Any(vec![selection(3)])));
        assert_eq!(parse("1 of *_b", &NAMES), Ok(Expr::Any(vec![selection(1)])));
    }

    #[test]
    fn a_condition_that_is_not_understood_is_refused() {
        let deep = format!("{}sel_a{}", "(".repeat(200), ")".repeat(200));
        let refused = [
            "",
            "sel_a and",
            "sel_a sel_b",
            "(sel_a",
            "sel_a)",
            "unknown",
            "1 of nothing*",
            "2 of sel_*",
            "and sel_a",
            "sel_a | count() > 5",
            "not",
            "1 of",
            deep.as_str(),
        ];
        for text in refused {
            assert!(parse(text, &NAMES).is_err(), "{text}");
        }
    }
}
