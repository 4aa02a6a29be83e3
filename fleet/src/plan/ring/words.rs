//! What was said of a ring, as people read it: one wording for page and terminal. Notes are as they were written: who shows them makes
//! them safe to show.

use super::{holds, Channel, Exception, RingPolicy, Standing, Window};
use crate::Ms;

/// Behind what is over, and holds no longer.
const OVER: &str = " (over)";

impl RingPolicy {
    /// All that was said, each with its note and its end; `moment` writes a time.
    #[must_use]
    pub fn says(&self, now_ms: Ms, moment: impl Fn(Ms) -> String) -> Vec<String> {
        let standing = |what: String, standing: Option<&Standing>| {
            let over = if holds(standing, now_ms) { "" } else { OVER };
            let until =
                standing.and_then(|standing| standing.until_ms).map(|until_ms| format!(" until {}", moment(until_ms)));
            let note = standing.map(|standing| format!(": {}", standing.note));
            format!("{what}{}{over}{}", until.unwrap_or_default(), note.unwrap_or_default())
        };
        let ending = |what: String, Exception { note, until_ms }: &Exception| {
            standing(what, Some(&Standing { note: note.clone(), until_ms: Some(*until_ms) }))
        };
        let of = &self.exceptions;
        let delay = format!("begins a release {} h after its signed earliest time", self.delay_h);
        let behind = "follows the release before the newest".to_owned();
        let audited = "what denies only counts at first".to_owned();
        [
            (self.delay_h > 0).then(|| standing(delay, of.delay.as_ref())),
            (self.channel == Channel::OneBehind).then(|| standing(behind, of.one_behind.as_ref())),
            self.pause.as_ref().map(|pause| ending("paused".to_owned(), pause)),
            self.pin.as_ref().map(|pin| ending(format!("pinned to version {}", pin.version), &pin.exception)),
            self.window.map(|window| standing(window.words(), of.window.as_ref())),
            self.audit_first.then(|| standing(audited, of.audit_first.as_ref())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Window {
    fn words(self) -> String {
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("begins something new from {} to {} UTC", time(self.from_minute), time(self.to_minute))
    }
}
