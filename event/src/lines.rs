//! Lines of native JSON for a stream of events. Most events of a process say the same of it as the one before, and that is two
//! thirds of a line: it is kept as it was written, and used again where every value is the same.

use crate::line::Line;
use crate::{Event, Field, Kind, Value};

/// Processes whose part of a line is kept, by the lowest bits of the pid.
const KEPT: usize = 64;
/// Longest part that is kept: half a megabyte all together, whatever arguments people make up.
const KEPT_BYTES_MAX: usize = 4_096;

/// Writes events as native JSON, one after the other.
#[derive(Debug)]
pub struct JsonLines {
    kept: Vec<Kept>,
}

/// What was written of a process.
#[derive(Clone, Debug, Default)]
struct Kept {
    pid: u64,
    fields: Vec<(Field, Value)>,
    text: Vec<u8>,
    /// How the line stood behind it.
    line: Line,
}

impl Default for JsonLines {
    fn default() -> Self {
        Self { kept: vec![Kept::default(); KEPT] }
    }
}

impl JsonLines {
    /// Appends what [`Event::write_json`] would.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        // An exec tells more of its process than any other event, and after an exit there is none.
        if matches!(event.kind, Kind::ProcessExec | Kind::ProcessExit) {
            return event.write_json(out);
        }
        let pid = event.number(Field::Pid).unwrap_or(0);
        #[allow(clippy::cast_possible_truncation)] // only the lowest bits count
        let Some(kept) = self.kept.get_mut(pid as usize % KEPT) else {
            return event.write_json(out);
        };
        event.write_head(out);
        let line = if kept.is_of(pid, event) {
            out.extend_from_slice(&kept.text);
            kept.line
        } else {
            let from = out.len();
            let mut line = Line::default();
            event.fields_of_process().for_each(|(field, value)| line.write(field, value, out));
            kept.keep(pid, event, line, out.get(from..).unwrap_or_default());
            line
        };
        event.write_behind_process(line, out);
    }
}

impl Kept {
    fn is_of(&self, pid: u64, event: &Event) -> bool {
        self.pid == pid && event.fields_of_process().eq(self.fields.iter().map(|(field, value)| (*field, value)))
    }

    /// From the second event on: most processes have few.
    fn keep(&mut self, pid: u64, event: &Event, line: Line, text: &[u8]) {
        self.fields.clear();
        self.text.clear();
        self.line = Line::default();
        if std::mem::replace(&mut self.pid, pid) == pid && text.len() <= KEPT_BYTES_MAX {
            self.fields.extend(event.fields_of_process().map(|(field, value)| (field, value.clone())));
            self.text.extend_from_slice(text);
            self.line = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, Source, Text};

    fn event(pid: u64, executable: &str, path: &str) -> Event {
        Event::new(Kind::FileOpenWrite, Outcome::Attempted, Source::BpfLsm, 7)
            .with(Field::Pid, pid)
            .with(Field::Executable, executable)
            .with(Field::ParentUser, "root")
            .with(Field::Path, path)
    }

    #[test]
    fn every_line_of_a_stream_is_the_line_of_its_event() {
        let cut = Value::Text(Text { bytes: b"/cut\xff".to_vec().into(), is_truncated: true });
        let neighbour = 4 + KEPT as u64;
        let long = "x".repeat(KEPT_BYTES_MAX);
        let of_kind = |kind| {
            let mut event = event(4, "/bin/b", "/z");
            event.kind = kind;
            event
        };
        let none = || Event::new(Kind::SensorGap, Outcome::Unknown, Source::Sensor, 1);
        let mut lines = JsonLines::default();
        for event in [
            none(),
            event(4, "/bin/a", "/x"),
            event(4, "/bin/a", "/x"),
            event(4, "/bin/a", "/y"),
            event(4, "/bin/b", "/y"),
            event(4, "/bin/b", "/y").with(Field::Uid, 0_u64),
            event(4, "/bin/b", "/y"),
            event(neighbour, "/bin/b", "/y"),
            event(4, "/bin/b", "/y"),
            event(4, "/bin/b", "/y").with(Field::Cwd, cut.clone()),
            event(4, "/bin/b", "/z").with(Field::Cwd, cut.clone()),
            event(4, "/bin/b", "/z").with(Field::Depth, 3_u64),
            event(4, "/bin/b", "/z").with(Field::Depth, 3_u64),
            event(4, &long, "/z"),
            event(4, &long, "/z"),
            of_kind(Kind::ProcessExec),
            of_kind(Kind::ProcessExit),
            event(4, "/bin/b", "/z"),
            none(),
            none().with(Field::Message, "m"),
            none().with(Field::User, "of no process"),
            none().with(Field::User, "of no process"),
            none(),
        ] {
            let (mut line, mut expected) = (b"before".to_vec(), b"before".to_vec());
            lines.write(&event, &mut line);
            event.write_json(&mut expected);
            assert_eq!(String::from_utf8_lossy(&line), String::from_utf8_lossy(&expected));
        }
    }
}
