//! What a ring or a customer may be called: one rule, for the command on the server's machine and for the operator API.

/// Characters of a name, as a signed release may name a ring with.
const NAME_CHARS_MAX: usize = 64;

/// Whether it is the name of a ring or of a customer; `what` is how it was given.
///
/// # Errors
/// It is none: the rule.
pub fn check(what: &str, name: &str) -> Result<(), String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_plain && (1..=NAME_CHARS_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(format!("{what} {name:?}: 1 to {NAME_CHARS_MAX} letters, digits and -_."))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_name_has_letters_digits_and_three_marks_and_is_short() {
        for good in ["early", "Early-2_b.c", &"x".repeat(64)] {
            assert_eq!(check("--ring", good), Ok(()));
        }
        for bad in ["", "a@b", "a b", "a/b", "\u{e9}", "a\u{1b}", &"x".repeat(65)] {
            let why = check("--ring", bad).expect_err("no name");
            assert!(why.starts_with("--ring \"") && why.ends_with(": 1 to 64 letters, digits and -_."), "{why}");
        }
    }
}
