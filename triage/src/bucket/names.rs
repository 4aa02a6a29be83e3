//! Names of functions without what a compiler adds: they must be the same after every build.

/// The name without suffixes of clones (`.isra.0`, `.part.1`, `.cold`, `.llvm.123`), digests of Rust (`::h0123456789abcdef`) and
/// arguments of templates.
#[must_use]
pub fn steady_name(name: &str) -> String {
    let mut plain = name;
    if let Some((front, digest)) = plain.rsplit_once("::h") {
        if digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            plain = front;
        }
    }
    for suffix in [".isra.", ".constprop.", ".part.", ".cold", ".llvm.", ".lto_priv."] {
        plain = plain.split(suffix).next().unwrap_or(plain);
    }
    without_templates(plain)
}

/// `Vec<int>::at` as `Vec::at`. A name that begins with `<`, as Rust's of traits do, keeps its first part.
fn without_templates(name: &str) -> String {
    let (head, rest) = if name.starts_with('<') { name.split_at(1) } else { ("", name) };
    let mut plain = String::from(head);
    let mut depth = 0_usize;
    for letter in rest.chars() {
        match letter {
            '<' => depth = depth.saturating_add(1),
            '>' if depth > 0 => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_adds_is_left_out() {
        for name in
            ["frob", "frob.isra.0", "frob.constprop.3.isra.1", "frob.part.0.cold", "frob.llvm.123456789", "frob.cold"]
        {
            assert_eq!(steady_name(name), "frob");
        }
        assert_eq!(steady_name("core::frob::h0123456789abcdef"), "core::frob");
        assert_eq!(steady_name("Frobs<int, Map<a, b>>::at"), "Frobs::at");
        assert_eq!(steady_name("<frob::Frob as kernel::File>::open"), "<frob::Frob as kernel::File>::open");
    }
}
