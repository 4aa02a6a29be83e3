//! What is shown and what is held back: a state machine of keys and lines that knows no terminal.

use std::collections::VecDeque;

use watertight_event::Class;

use super::keys::Key;
use super::rates::CLASSES;

/// Lines that wait, because of a pause or a slow terminal: more than anybody scrolls back, some MB at most.
const HELD_MAX: usize = 10_000;
/// Lines of alerts that may wait beyond these: an alert must not be pushed out by the events around it.
const HELD_ALERT_MAX: usize = 2_000;
/// Longest filter, in characters.
const FILTER_CHARS_MAX: usize = 100;

const HELP: [&str; 7] = [
    "p or space   pause and go on; events are read and counted meanwhile, lines are held back",
    "f            show only lines that contain a text: type it, Enter applies, Esc clears",
    "a            alerts only, and back",
    "1 2 3 4      hide or show events of processes, files, network, system",
    "Esc          clear the filter",
    "q            stop watching and write the account; Ctrl-C does the same",
    "status line  events a second over 2 s, alerts, lost events, cost of all our processes, processes known",
];

/// What a line is a part of; decides its colour and whether a filter may hide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An event of this class.
    Event(Class),
    /// First line of an alert.
    Alert,
    /// Explanation of the alert above.
    Why,
    /// What the view says of itself.
    Note,
}

/// A line without its colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is a part of.
    pub part: Part,
    /// Its text.
    pub text: String,
}

/// Keys and lines so far.
#[derive(Debug, Default)]
pub struct View {
    lines: VecDeque<Line>,
    /// Answers to keys: shown at once, also in a pause.
    answers: Vec<Line>,
    not_shown: u64,
    is_paused: bool,
    is_alerts_only: bool,
    is_quit: bool,
    is_hidden: [bool; CLASSES.len()],
    filter: String,
    typed: Option<String>,
}

impl View {
    /// Whether events of this class have a chance to be shown: their lines need not be made otherwise.
    #[must_use]
    pub fn wants(&self, class: Class) -> bool {
        !self.is_alerts_only && !CLASSES.iter().zip(self.is_hidden).any(|(hidden, is)| is && *hidden == class)
    }

    /// Takes a line, to be shown when it is its turn.
    pub fn offer(&mut self, line: Line) {
        if !self.passes(&line) {
            return;
        }
        let most = match line.part {
            Part::Event(_) => HELD_MAX,
            _ => HELD_MAX.saturating_add(HELD_ALERT_MAX),
        };
        if self.lines.len() >= most {
            self.not_shown = self.not_shown.saturating_add(1);
        } else {
            self.lines.push_back(line);
        }
    }

    /// Whether lines wait to be drawn.
    #[must_use]
    pub fn has_lines(&self) -> bool {
        !self.answers.is_empty() || (!self.is_paused && !self.lines.is_empty())
    }

    /// The next lines to draw. A filter that was set during a pause holds for what was held back, too.
    pub fn take(&mut self, most: usize) -> Vec<Line> {
        let mut taken = std::mem::take(&mut self.answers);
        if self.is_paused {
            return taken;
        }
        while taken.len() < most {
            let Some(line) = self.lines.pop_front() else { break };
            if self.passes(&line) {
                taken.push(line);
            }
        }
        if self.lines.is_empty() {
            taken.extend(self.missing());
        }
        taken
    }

    /// The end: what a pause still held back is counted and not shown.
    pub fn leave(&mut self) -> Option<Line> {
        let held = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        self.lines.clear();
        let count = std::mem::take(&mut self.not_shown).saturating_add(held);
        (count > 0).then(|| Line {
            part: Part::Note,
            text: format!("... {count} lines not shown: held back until the end (the events were read and counted)"),
        })
    }

    /// Hears a key.
    pub fn key(&mut self, key: Key) {
        if let Some(typed) = &mut self.typed {
            match key {
                Key::Letter(letter) if typed.chars().count() < FILTER_CHARS_MAX => typed.push(letter),
                Key::Letter(_) => {}
                Key::Backspace => {
                    typed.pop();
                }
                Key::Enter => self.filter = self.typed.take().unwrap_or_default().to_lowercase(),
                Key::Escape => {
                    self.typed = None;
                    self.filter.clear();
                }
            }
            return;
        }
        match key {
            Key::Letter('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Letter('f' | '/') => self.typed = Some(String::new()),
            Key::Letter('a') => self.is_alerts_only = !self.is_alerts_only,
            Key::Letter('q') => self.is_quit = true,
            Key::Letter('?' | 'h') => self.help(),
            Key::Letter(digit) => {
                let place = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
                if let Some(is_hidden) = place.and_then(|place| self.is_hidden.get_mut(place)) {
                    *is_hidden = !*is_hidden;
                }
            }
            Key::Escape => self.filter.clear(),
            Key::Enter | Key::Backspace => {}
        }
    }

    /// Whether `q` was heard.
    #[must_use]
    pub fn is_quit(&self) -> bool {
        self.is_quit
    }

    /// The filter that is being typed.
    #[must_use]
    pub fn typed(&self) -> Option<&str> {
        self.typed.as_deref()
    }

    /// What keys have changed, for the status line; empty when nothing is held back or hidden.
    #[must_use]
    pub fn state(&self) -> String {
        let mut parts = Vec::new();
        if self.is_paused {
            parts.push(format!("PAUSED, {} held", self.lines.len()));
        }
        if self.not_shown > 0 {
            parts.push(format!("{} not shown", self.not_shown));
        }
        if self.is_alerts_only {
            parts.push("alerts only".to_owned());
        }
        if !self.filter.is_empty() {
            parts.push(format!("filter {:?}", self.filter));
        }
        for (class, _) in CLASSES.iter().zip(self.is_hidden).filter(|(_, is_hidden)| *is_hidden) {
            parts.push(format!("no {}", class.name()));
        }
        parts.join(", ")
    }

    fn passes(&self, line: &Line) -> bool {
        match line.part {
            Part::Event(class) => {
                self.wants(class) && (self.filter.is_empty() || line.text.to_lowercase().contains(&self.filter))
            }
            Part::Alert | Part::Why | Part::Note => true,
        }
    }

    fn missing(&mut self) -> Option<Line> {
        let count = std::mem::take(&mut self.not_shown);
        (count > 0).then(|| Line {
            part: Part::Note,
            text: format!(
                "... {count} lines not shown: more than {HELD_MAX} waited (the events were read and counted)"
            ),
        })
    }

    fn help(&mut self) {
        self.answers = HELP.iter().map(|text| Line { part: Part::Note, text: format!("  {text}") }).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(class: Class, text: &str) -> Line {
        Line { part: Part::Event(class), text: text.to_owned() }
    }

    fn alert(text: &str) -> Line {
        Line { part: Part::Alert, text: text.to_owned() }
    }

    fn press(view: &mut View, keys: &str) {
        for letter in keys.chars() {
            view.key(if letter == '\n' { Key::Enter } else { Key::Letter(letter) });
        }
    }

    fn texts(view: &mut View) -> Vec<String> {
        view.take(usize::MAX).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_pause_holds_lines_back_and_the_next_key_shows_them_in_order() {
        let mut view = View::default();
        press(&mut view, "p");
        view.offer(event(Class::File, "one"));
        view.offer(alert("two"));
        assert!(!view.has_lines());
        assert!(texts(&mut view).is_empty());
        assert_eq!(view.state(), "PAUSED, 2 held");
        press(&mut view, " ");
        assert_eq!(texts(&mut view), ["one", "two"]);
    }

    #[test]
    fn what_a_long_pause_can_not_hold_is_counted_and_said_and_alerts_are_held_still() {
        let mut view = View::default();
        press(&mut view, "p");
        for _ in 0..HELD_MAX + 5 {
            view.offer(event(Class::File, "x"));
        }
        view.offer(alert("alert"));
        assert_eq!(view.state(), format!("PAUSED, {} held, 5 not shown", HELD_MAX + 1));
        press(&mut view, "p");
        let shown = texts(&mut view);
        assert!(shown.contains(&"alert".to_owned()));
        assert!(shown.last().is_some_and(|last| last.starts_with("... 5 lines not shown")));
        assert_eq!(view.state(), "");
    }

    #[test]
    fn a_filter_hides_other_events_whatever_their_case_but_never_an_alert() {
        let mut view = View::default();
        press(&mut view, "fShaDow\n");
        view.offer(event(Class::File, "cat /etc/SHADOW"));
        view.offer(event(Class::File, "cat /etc/passwd"));
        view.offer(alert("other"));
        assert_eq!(texts(&mut view), ["cat /etc/SHADOW", "other"]);
        view.key(Key::Escape);
        view.offer(event(Class::File, "cat /etc/passwd"));
        assert_eq!(texts(&mut view), ["cat /etc/passwd"]);
    }

    #[test]
    fn letters_of_a_filter_are_no_commands() {
        let mut view = View::default();
        press(&mut view, "fqap1");
        assert_eq!(view.typed(), Some("qap1"));
        assert!(!view.is_quit());
        view.key(Key::Escape);
        assert_eq!((view.typed(), view.state()), (None, String::new()));
        press(&mut view, "q");
        assert!(view.is_quit());
    }

    #[test]
    fn a_filter_set_in_a_pause_holds_for_what_was_held_back() {
        let mut view = View::default();
        press(&mut view, "p");
        view.offer(event(Class::File, "one"));
        view.offer(event(Class::File, "two"));
        press(&mut view, "ftwo\np");
        assert_eq!(texts(&mut view), ["two"]);
    }

    #[test]
    fn digits_toggle_classes_and_what_the_sensor_says_of_itself_stays() {
        let mut view = View::default();
        press(&mut view, "24");
        assert_eq!(view.state(), "no file, no system");
        assert!(view.wants(Class::Process) && view.wants(Class::Sensor) && !view.wants(Class::File));
        press(&mut view, "2490");
        assert!(view.wants(Class::File) && view.wants(Class::System));
        press(&mut view, "a");
        assert!(!view.wants(Class::Process));
    }

    #[test]
    fn help_is_answered_in_a_pause_too() {
        let mut view = View::default();
        press(&mut view, "p?");
        view.offer(event(Class::File, "one"));
        assert!(view.has_lines());
        assert_eq!(texts(&mut view).len(), HELP.len());
        assert!(!view.has_lines());
    }

    #[test]
    fn what_is_still_held_at_the_end_is_counted() {
        let mut view = View::default();
        press(&mut view, "p");
        view.offer(event(Class::File, "one"));
        assert!(view.leave().is_some_and(|line| line.text.starts_with("... 1 lines not shown")));
        assert_eq!(view.leave(), None);
    }
}
