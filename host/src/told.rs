//! Alerts that were told a moment ago, so that one act is told once.
//!
//! Opening a file that is not there yet is two events to the kernel: the name is made, then the file is opened for writing. Both
//! are told, because either may be missing (lost, or from a source that sees one of them), and a rule about a place asks for both.
//! Looked at where a rule fired alone: events that fire none pay nothing.

use std::collections::VecDeque;

use watertight_event::{Event, Field, Kind, Value};

/// Creations that are remembered; an alert is rare, and the open follows at once.
const CREATED_MAX: usize = 64;
/// From the creation to the open that asked for it, nanoseconds: a preempted process may take a while.
const MOMENT_NS: u64 = 100_000_000;

/// The latest alerts about files that were created.
#[derive(Debug, Default)]
pub(crate) struct Told {
    created: VecDeque<Created>,
}

#[derive(Debug)]
struct Created {
    rule: String,
    boot_ns: u64,
    pid: u64,
    path: Value,
}

impl Told {
    /// Whether this alert is to be told: it is not where the same rule fired on the creation that this event's open asked for.
    pub(crate) fn is_first(&mut self, event: &Event, rule: &str) -> bool {
        let (Some(pid), Some(path)) = (event.number(Field::Pid), event.get(Field::Path)) else { return true };
        match event.kind {
            Kind::FileCreate => {
                if self.created.len() >= CREATED_MAX {
                    self.created.pop_front();
                }
                let (rule, path, boot_ns) = (rule.to_owned(), path.clone(), event.boot_ns);
                self.created.push_back(Created { rule, boot_ns, pid, path });
                true
            }
            Kind::FileOpenWrite => {
                let is_its_open = |created: &Created| {
                    let since = event.boot_ns.checked_sub(created.boot_ns);
                    since.is_some_and(|since| since <= MOMENT_NS)
                        && created.pid == pid
                        && created.rule == rule
                        && created.path == *path
                };
                match self.created.iter().position(is_its_open) {
                    Some(at) => {
                        self.created.remove(at); // a second open is an act of its own
                        false
                    }
                    None => true,
                }
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use watertight_event::{Outcome, Source};

    use super::*;

    fn event(kind: Kind, pid: u64, path: &str, boot_ns: u64) -> Event {
        Event::new(kind, Outcome::Attempted, Source::BpfLsm, boot_ns).with(Field::Pid, pid).with(Field::Path, path)
    }

    #[test]
    fn a_file_that_an_open_makes_is_told_once_by_each_rule() {
        let mut told = Told::default();
        let create = event(Kind::FileCreate, 7, "/etc/sudoers.d/x", 1_000);
        let open = event(Kind::FileOpenWrite, 7, "/etc/sudoers.d/x", 9_000);
        assert!(told.is_first(&create, "a") && told.is_first(&create, "b"));
        assert!(!told.is_first(&open, "a") && !told.is_first(&open, "b"));
        assert!(told.is_first(&open, "a"), "the next open is another act");
    }

    #[test]
    fn another_file_process_rule_or_moment_is_told() {
        let opens = [
            (event(Kind::FileOpenWrite, 7, "/etc/sudoers.d/y", 9_000), "a"),
            (event(Kind::FileOpenWrite, 8, "/etc/sudoers.d/x", 9_000), "a"),
            (event(Kind::FileOpenWrite, 7, "/etc/sudoers.d/x", 9_000), "b"),
            (event(Kind::FileOpenWrite, 7, "/etc/sudoers.d/x", 1_001 + MOMENT_NS), "a"),
            (event(Kind::FileOpenWrite, 7, "/etc/sudoers.d/x", 999), "a"),
            (event(Kind::FileRename, 7, "/etc/sudoers.d/x", 9_000), "a"),
        ];
        for (open, rule) in opens {
            let mut told = Told::default();
            assert!(told.is_first(&event(Kind::FileCreate, 7, "/etc/sudoers.d/x", 1_000), "a"));
            assert!(told.is_first(&open, rule), "{open:?} by {rule}");
        }
    }

    #[test]
    fn an_open_whose_creation_was_lost_is_told_and_memory_is_bounded() {
        let mut told = Told::default();
        assert!(told.is_first(&event(Kind::FileOpenWrite, 7, "/etc/sudoers.d/x", 9_000), "a"));
        for number in 0..1_000 {
            assert!(told.is_first(&event(Kind::FileCreate, number, "/tmp/x", 1_000), "a"));
        }
        assert_eq!(told.created.len(), CREATED_MAX);
    }
}
