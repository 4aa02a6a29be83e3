//! Target paths: what a repository may call a file, and what a file of that path is called on a disk.

/// Why no file may have this path, or `None` if one may.
///
/// A repository names paths, and whoever signed them may have erred: a path can never lead out of the folder that it is for.
#[must_use]
pub fn unsafe_reason(path: &str) -> Option<&'static str> {
    /// What the file systems allow, less what a hash in front of the name takes.
    const PART_BYTES_MAX: usize = 255 - 65;
    const PATH_BYTES_MAX: usize = 1024;
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Some("a path has 1 to 1024 bytes");
    }
    if path.starts_with('/') {
        return Some("the path is absolute");
    }
    if path.chars().any(|character| character.is_control() || character == '\\') {
        return Some("the path has a control character or a backslash");
    }
    for part in path.split('/') {
        match part {
            "" => return Some("the path has an empty part"),
            "." | ".." => return Some("the path leads elsewhere by `.` or `..`"),
            part if part.len() > PART_BYTES_MAX => return Some("a part of the path has more than 190 bytes"),
            _ => {}
        }
    }
    None
}

/// `text` with every byte but letters, digits and `-_.~` as `%XX`: one name, without `/`, that two texts never share.
#[must_use]
pub fn encode_name(text: &str) -> String {
    encode(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
}

/// `path` as a URL has it: `/` stays, and what a path may hold; `%` does not, so that it means itself.
pub(crate) fn encode_url_path(path: &str) -> String {
    encode(path, |byte| byte.is_ascii_alphanumeric() || b"-_.~/!$&'()*+,;=:@".contains(&byte))
}

fn encode(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stays(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_its_folder_is_named() {
        for path in ["../a", "a/../b", "/a", "a//b", "a/", ".", "a/.", "a\0b", "a\\b", "", "a\nb"] {
            assert!(unsafe_reason(path).is_some(), "{path:?}");
        }
        for path in ["a", "content/linux/12.pack", "a..b", "...", "ä b?#%"] {
            assert_eq!(unsafe_reason(path), None, "{path:?}");
        }
    }

    #[test]
    fn two_texts_never_share_a_name() {
        assert_eq!(encode_name("a/b"), "a%2Fb");
        assert_eq!(encode_name("a%2Fb"), "a%252Fb");
        assert_eq!(encode_name("../x"), "..%2Fx");
    }
}
