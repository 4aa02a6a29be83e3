//! What a ring, a customer or a person may be called, and what a reason is: one rule, for the commands on the server's machine and for the
//! operator API.

use watertight_fleet_wire::limits::NAME_BYTES_MAX;

/// Of a reason in the audit log.
const REASON_BYTES_MAX: usize = 1024;
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

/// Whether it is the name of a person or a program: an address will do.
///
/// # Errors
/// It is none: the rule.
pub fn actor(what: &str, name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(format!("{what}: 1 to {NAME_BYTES_MAX} letters, digits and -_.@"))
}

/// Whether it says why.
///
/// # Errors
/// It does not, or is too long: the rule.
pub fn reason(what: &str, reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(format!("{what}: 1 to {REASON_BYTES_MAX} bytes that say why"));
    }
    Ok(())
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
