//! Names of users and groups, from the machine's own files. Numbers without a name stay numbers.

use std::fs;

use watertight_event::Text;

use crate::by_number::ByNumber;

/// Names by id, as they were at start.
#[derive(Clone, Debug, Default)]
pub struct Names {
    users: ByNumber<Text>,
    groups: ByNumber<Text>,
}

impl Names {
    /// Reads /etc/passwd and /etc/group; what is not readable gives no names.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::read(&read("/etc/passwd"), &read("/etc/group"))
    }

    /// Reads the text of both.
    #[must_use]
    pub fn read(users: &str, groups: &str) -> Self {
        Self { users: parse(users), groups: parse(groups) }
    }

    /// Name of a user id.
    #[must_use]
    pub fn user(&self, uid: u64) -> Option<&Text> {
        self.users.get(&uid)
    }

    /// Name of a group id.
    #[must_use]
    pub fn group(&self, gid: u64) -> Option<&Text> {
        self.groups.get(&gid)
    }
}

/// Both files are `name:password:id:...`. The first name of an id wins, as in the C library.
fn parse(text: &str) -> ByNumber<Text> {
    let mut names = ByNumber::default();
    for line in text.lines() {
        let mut parts = line.split(':');
        let (Some(name), Some(id)) = (parts.next(), parts.nth(1)) else { continue };
        if let Ok(id) = id.parse() {
            names.entry(id).or_insert_with(|| Text::from(name).clone()); // a clone is what all further clones share
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
        assert_eq!(names, ByNumber::from_iter([(0, "root".into())]));
    }
}
