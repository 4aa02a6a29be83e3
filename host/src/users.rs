//! Names of users and groups, from the machine's own files. Numbers without a name stay numbers.

use std::collections::HashMap;
use std::fs;

/// Names by id, as they were at start.
#[derive(Clone, Debug, Default)]
pub struct Names {
    users: HashMap<u64, String>,
    groups: HashMap<u64, String>,
}

impl Names {
    /// Reads /etc/passwd and /etc/group; what is not readable gives no names.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |path: &str| parse(&fs::read_to_string(path).unwrap_or_default());
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// Name of a user id.
    #[must_use]
    pub fn user(&self, uid: u64) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// Name of a group id.
    #[must_use]
    pub fn group(&self, gid: u64) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }
}

/// Both files are `name:password:id:...`. The first name of an id wins, as in the C library.
fn parse(text: &str) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut parts = line.split(':');
        let (Some(name), Some(id)) = (parts.next(), parts.nth(1)) else { continue };
        if let Ok(id) = id.parse() {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_names_of_an_id_is_taken_and_broken_lines_are_none() {
        let names = parse("root:x:0:0\ntoor:x:0:0\nbroken\nx:y:z:\n");
        assert_eq!(names, HashMap::from([(0, "root".to_owned())]));
    }
}
