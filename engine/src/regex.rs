//! Regular expressions that can't be made to run long: linear time, size capped when the rule is compiled.
//!
//! What the language can't promise that for (look-around, back-references) does not exist here; such an expression is
//! refused when the rule is read, by the name of what it uses.

use regex_automata::meta;
use regex_automata::util::syntax;

/// Most memory that one compiled expression may take. The largest in public rule sets need about 300 KB.
const REGEX_SIZE_BYTES_MAX: usize = 2 << 20;

/// Deepest nesting of groups. Far above what people write, far below what exhausts a stack.
const REGEX_NEST_MAX: u32 = 100;

/// How an expression is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegexFlags {
    /// `i`: case does not matter.
    pub ignores_case: bool,
    /// `m`: `^` and `$` match at line ends.
    pub is_multi_line: bool,
    /// `s`: `.` matches a line feed too.
    pub dot_matches_line_feed: bool,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// It uses what can't run in linear time, or is not an expression.
    #[error("regular expression {pattern:?}: {what}; only expressions that run in linear time are supported")]
    Syntax {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        what: String,
    },
    /// It compiles to more than the cap.
    #[error(
        "regular expression {pattern:?} compiles to more than {REGEX_SIZE_BYTES_MAX} bytes: shorten its repetitions"
    )]
    TooLarge {
        /// The expression.
        pattern: String,
    },
}

/// Whether the engine will accept this expression.
///
/// # Errors
/// When it is not an expression, uses what can't run in linear time, or is too large.
pub fn check_regex(pattern: &str, flags: RegexFlags) -> Result<(), RegexError> {
    compile(pattern, flags).map(|_| ())
}

/// The expression, ready to run.
pub(crate) fn compile(pattern: &str, flags: RegexFlags) -> Result<meta::Regex, RegexError> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(REGEX_SIZE_BYTES_MAX))
        .onepass_size_limit(Some(REGEX_SIZE_BYTES_MAX))
        .which_captures(regex_automata::nfa::thompson::WhichCaptures::None)
        .utf8_empty(false);
    let syntax = syntax::Config::new()
        .case_insensitive(flags.ignores_case)
        .multi_line(flags.is_multi_line)
        .dot_matches_new_line(flags.dot_matches_line_feed)
        .utf8(false)
        .nest_limit(REGEX_NEST_MAX);
    meta::Regex::builder().configure(config).syntax(syntax).build(pattern).map_err(|error| {
        if error.size_limit().is_some() {
            return RegexError::TooLarge { pattern: pattern.to_owned() };
        }
        let what = match error.syntax_error() {
            Some(regex_syntax::Error::Parse(error)) => error.kind().to_string(),
            Some(regex_syntax::Error::Translate(error)) => error.kind().to_string(),
            _ => error.to_string(),
        };
        RegexError::Syntax { pattern: pattern.to_owned(), what }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_run_in_linear_time_is_refused_by_name() {
        let refused = |pattern| check_regex(pattern, RegexFlags::default()).expect_err(pattern).to_string();
        assert!(refused("(?=a)b").contains("look-around"), "{}", refused("(?=a)b"));
        assert!(refused(r"(a)\1").contains("backreference"), "{}", refused(r"(a)\1"));
        assert!(refused("(a").contains("group"), "{}", refused("(a"));
    }

    #[test]
    fn an_expression_that_explodes_is_refused_not_compiled() {
        let bomb = "((a{100}){100}){100}";
        assert!(matches!(check_regex(bomb, RegexFlags::default()), Err(RegexError::TooLarge { .. })));
    }
}
