//! The live view: lines scroll as in any program, and one status line stays below them.
//!
//! No alternate buffer and no scroll region: what was shown stays in the terminal's history, and a view that is killed leaves
//! a terminal that still works. The terminal is never waited for: it is written without blocking, and what it can't take is
//! counted and said, because a slow terminal must not cost events.

mod keys;
mod rates;
mod screen;
mod usage;
mod view;
mod width;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use watertight_event::Class;

use self::rates::Rates;
pub use self::screen::Saved;
use self::screen::Screen;
use self::usage::Usage;
use self::view::View;
pub use self::view::{Line, Part};

/// How often the status line is drawn anew.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// Shortest time between two writes of lines: what comes meanwhile is written at once.
const DRAW_EVERY: Duration = Duration::from_millis(30);
/// Lines in one write, so that a key is heard in between.
const LINES_AT_ONCE: usize = 500;

/// What the status line says beside what the view counts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Events that are known to be lost, and reports of losses whose size is not known.
    pub lost: u64,
    /// Processes that are known.
    pub processes: usize,
}

/// A live view on a terminal.
pub struct Live {
    view: View,
    screen: Screen,
    rates: Rates,
    usage: Usage,
    facts: Facts,
    drawn: Instant,
    status_drawn: Option<Instant>,
}

impl Live {
    /// Opens the terminal behind standard output. `others` are our other processes, for what all cost together. To be called while the privileges are still there: it is the login's own.
    ///
    /// # Errors
    /// Standard output is no terminal, or it can't be opened anew: plain lines do then.
    pub fn open(has_colour: bool, others: &[u32]) -> io::Result<Self> {
        Ok(Self {
            view: View::default(),
            screen: Screen::open(has_colour)?,
            rates: Rates::new(Instant::now()),
            usage: Usage::open(Instant::now(), others),
            facts: Facts::default(),
            drawn: Instant::now(),
            status_drawn: None,
        })
    }

    /// Counts an event, and takes its line if its class is shown.
    pub fn event(&mut self, class: Class, line: impl FnOnce() -> String) {
        self.rates.count(class);
        if self.view.wants(class) {
            self.view.offer(Line { part: Part::Event(class), text: line() });
        }
    }

    /// Takes the lines of one alert.
    pub fn alert(&mut self, lines: Vec<Line>) {
        self.rates.count_alert();
        for line in lines {
            self.view.offer(line);
        }
    }

    /// The terminal, if keys can come from it.
    #[must_use]
    pub fn keys_from(&self) -> Option<BorrowedFd<'_>> {
        self.screen.keys_from()
    }

    /// Hears the keys and draws what is due. Returns whether the user asked to quit.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn beat(&mut self, facts: Facts) -> io::Result<bool> {
        let now = Instant::now();
        self.facts = facts;
        let mut is_touched = false;
        for key in keys::decode(&self.screen.read()) {
            is_touched = true;
            self.view.key(key);
        }
        let is_status_due = match self.status_drawn {
            Some(last) => now.saturating_duration_since(last) >= STATUS_EVERY,
            None => true,
        };
        if is_status_due {
            self.status_drawn = Some(now);
            self.rates.tick(now);
            self.usage.tick(now);
            self.screen.keep_keys();
        }
        let are_lines_due =
            self.view.has_lines() && now.saturating_duration_since(self.drawn) >= DRAW_EVERY && self.screen.is_ready();
        if are_lines_due || (self.screen.is_ready() && (is_status_due || is_touched)) {
            self.drawn = now;
            let lines = self.view.take(LINES_AT_ONCE);
            self.screen.draw(&lines, &self.status());
        }
        self.screen.push()?;
        Ok(self.view.is_quit())
    }

    /// The last lines, as far as they were not held back; the status line goes. `gives_up` is asked whether a terminal that
    /// took nothing since then is to be given up. Returns whether it took everything.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn close(&mut self, gives_up: &dyn Fn(u64) -> bool) -> io::Result<bool> {
        loop {
            let lines = self.view.take(LINES_AT_ONCE);
            if lines.is_empty() {
                break;
            }
            self.screen.draw(&lines, "");
            if !self.screen.push_all(gives_up)? {
                return Ok(false);
            }
        }
        let rest = self.view.leave();
        self.screen.end(rest.as_ref());
        self.screen.push_all(gives_up)
    }

    fn status(&self) -> String {
        if let Some(typed) = self.view.typed() {
            return format!("filter: {typed}_   Enter applies, Esc clears");
        }
        let state = self.view.state();
        let gap = if state.is_empty() { "" } else { " | " };
        format!(
            "{state}{gap}{}/s | {} alerts | {} lost | {} | cpu {:.1}% rss {} MiB | {} procs | ? help",
            self.rates.total(),
            self.rates.alerts(),
            self.facts.lost,
            self.rates,
            self.usage.cpu_percent(),
            self.usage.rss_mib(),
            self.facts.processes,
        )
    }
}
