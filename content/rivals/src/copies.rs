//! More rules than there are: copies of the public ones that look for other texts, to see what ten times as many cost.
//!
//! A copy keeps its rule's shape, fields and the first half of every text, so that both lie close together in the automata; the
//! letters of the second half are others in each copy. A rule that asks for no text stays as it is, and fires with its copies.

use watertight_content::rule::{Expr, Op, Part, Pattern, Place, Predicate, Rule, Selection};
use watertight_content::sigma::{Library, Loaded};

/// Letters of an alphabet.
const LETTERS: u8 = 26;

/// As many rules as there are, so many times.
pub fn multiply(library: &mut Library, times: u8) {
    let originals = library.rules.clone();
    for copy in 1..times {
        library
            .rules
            .extend(originals.iter().map(|loaded| Loaded { rule: copied(&loaded.rule, copy), ..loaded.clone() }));
    }
}

fn copied(rule: &Rule, copy: u8) -> Rule {
    let selection = |part: &Selection| Selection { name: part.name.clone(), body: altered(&part.body, copy) };
    Rule {
        id: format!("{}-{copy}", rule.id),
        selections: rule.selections.iter().map(selection).collect(),
        condition: altered(&rule.condition, copy),
        ..rule.clone()
    }
}

fn altered(expr: &Expr, copy: u8) -> Expr {
    let all = |parts: &[Expr]| parts.iter().map(|part| altered(part, copy)).collect();
    match expr {
        Expr::All(parts) => Expr::All(all(parts)),
        Expr::Any(parts) => Expr::Any(all(parts)),
        Expr::Not(part) => Expr::Not(Box::new(altered(part, copy))),
        Expr::Is(Predicate { op: Op::Text(pattern), field, source }) => {
            let parts = pattern.parts().iter().map(|part| match part {
                Part::Literal(text) => Part::Literal(other(text, copy)),
                other => other.clone(),
            });
            let op = Op::Text(Pattern::new(parts, Place::Whole, pattern.is_cased()));
            Expr::Is(Predicate { op, field: field.clone(), source: source.clone() })
        }
        same => same.clone(),
    }
}

/// The text with its second half rotated through the alphabet.
fn other(text: &[u8], copy: u8) -> Vec<u8> {
    let half = text.len() / 2;
    let rotated = |(at, byte): (usize, &u8)| match byte {
        _ if at < half => *byte,
        b'a'..=b'z' => b'a' + (byte - b'a' + copy) % LETTERS,
        b'A'..=b'Z' => b'A' + (byte - b'A' + copy) % LETTERS,
        other => *other,
    };
    text.iter().enumerate().map(rotated).collect()
}
