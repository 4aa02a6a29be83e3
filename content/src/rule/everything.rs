//! Whether an expression says nothing: every text fits it, however it is written. `(foo|[^f]|f)` does not look like `.*` and means the same.

use super::expression::Table;
use super::{parse_regex, table_of, RegexFlags};

/// Whether each text of one ASCII character or more fits. What has no table, and so may say a lot, is not looked into.
pub(crate) fn fits_everything(pattern: &str, flags: RegexFlags) -> bool {
    let table = parse_regex(pattern, flags).ok().and_then(|hir| table_of(&hir));
    table.is_some_and(|table| is_everything(&table).unwrap_or(false))
}

/// The same of a table: whether each state that ASCII leads to is a match, or one when the text ends there. `None` for one that is cut.
fn is_everything(table: &Table) -> Option<bool> {
    let classes: std::collections::BTreeSet<u8> = table.classes.iter().take(128).copied().collect();
    let next = |state: u32, class: u32| -> Option<u32> {
        let place = state.checked_mul(table.class_count)?.checked_add(class)?;
        table.entries.get(usize::try_from(place).ok()?).map(|next| u32::from(*next))
    };
    let mut is_known = vec![false; table.entries.len()];
    let mut open = vec![table.start];
    while let Some(state) = open.pop() {
        if state >= table.match_from {
            continue;
        }
        for class in &classes {
            let reached = next(state, u32::from(*class))?;
            let known = is_known.get_mut(usize::try_from(reached).ok()?)?;
            if std::mem::replace(known, true) {
                continue;
            }
            let at_end = next(reached, table.class_count.checked_sub(1)?)?;
            if reached < table.match_from && at_end < table.match_from {
                return Some(false);
            }
            open.push(reached);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_every_text_is_told_however_it_is_written() {
        for everything in ["(foo|[^f]|f)", ".*", "", "^", "$", "(?s).", "[^a]|a", "a*", "(a|b|[^ab])+$", r"[\x00-\x7f]"]
        {
            assert!(fits_everything(everything, RegexFlags::default()), "{everything}");
        }
        for something in ["foo", "[^f]", "f|[^fo]", ".", "^.$", "a|[^a].", r"\w", "(foo|[^f]|f){2}", "x{1000}"] {
            assert!(!fits_everything(something, RegexFlags::default()), "{something}");
        }
        assert!(fits_everything(".", RegexFlags { dot_matches_line_feed: true, ..RegexFlags::default() }));
    }
}
