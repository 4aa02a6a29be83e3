//! The content of a run: other content is gone over to, what has lived is trusted, and what it says beside rules (deny rules, actions)
//! is put in force.

use std::sync::atomic::Ordering;

use anyhow::Result;
use watertight_event::{Event, Kind};

use super::super::ladder::{Active, Limits};
use super::Crew;
use crate::actions::InForce;
use crate::output::{content, no_content, sensor_event};
use crate::publisher::plan::Standing;
use crate::worker::protocol::{Format, Message};

impl Crew<'_> {
    /// The content in force says what is denied, from here on.
    pub(super) fn offer_policy(&mut self) -> Result<()> {
        let told = self.publisher.offer(self.active.offer());
        self.tell(told)
    }

    /// Carries out what rules demand, as far as that may be, and tells what became of it.
    pub(super) fn look_after_actions(&mut self) -> Result<()> {
        let Self { actor: Some(actor), requests: Some(requests), publisher, active, .. } = self else { return Ok(()) };
        let rules = active.content.as_ref().map_or(&[][..], |content| &content.header.rules);
        let is_on_trial = active.offer().standing == Standing::Trial;
        let in_force = InForce { word: active.word(), rules, is_on_trial };
        let told = actor.look(requests, in_force, &mut |wanted| publisher.deny(wanted));
        self.tell(told)
    }

    /// Goes on with the deny rules. They are confirmed by a detector that works with the content that they are from.
    pub(super) fn look_after_policy(&mut self) -> Result<()> {
        let is_at_work = self.detector.is_some()
            && (self.active.word() == 0 || self.tally.content().load(Ordering::SeqCst) == self.active.word());
        let told = self.publisher.look(is_at_work.then(|| self.tally.progress().load(Ordering::Relaxed)));
        self.tell(told)
    }

    /// Goes over to content that was installed, and trusts what has lived.
    pub(super) fn look_after_content(&mut self) -> Result<()> {
        if let Some(event) = self.note_change() {
            self.tell(vec![event])?;
            return self.offer_policy();
        }
        let limits = self.counted_limits();
        if std::mem::replace(&mut self.limits, limits) != self.limits {
            self.leave_word();
        }
        let Some(next) = self.next.take() else {
            if let Some(next) = self.ladder.look(&self.active) {
                return self.go_over_to(next);
            }
            let evaluated = self.tally.evaluated().load(Ordering::Relaxed);
            if self.ladder.lives(&mut self.active, evaluated) {
                self.leave_word();
                if let Some(detector) = &mut self.detector {
                    detector.queue(&Message::Slot(self.active.slot().to_owned()))?;
                }
                let message = format!("content has lived through its trial: {}", self.active.in_words());
                self.offer_policy()?;
                return self.tell(vec![sensor_event(Kind::SensorMode, "content", &message)]);
            }
            return Ok(());
        };
        if self.tally.refused().swap(0, Ordering::SeqCst) == next.word() {
            let instead = self.ladder.give_up(&next, "the detector could not make it ready");
            if instead.id() != self.active.id() {
                return self.go_over_to(instead);
            }
            return Ok(());
        }
        self.next = Some(next);
        Ok(())
    }

    /// The detector has gone over to other content, if it has; gives the event that tells of it.
    pub(super) fn note_change(&mut self) -> Option<Event> {
        let word = self.tally.content().load(Ordering::SeqCst);
        let next = self.next.take_if(|next| next.word() == word)?;
        let message = format!("content changed from {} to {}", self.active.in_words(), next.in_words());
        self.active = next.begun_now();
        self.leave_word();
        Some(sensor_event(Kind::SensorMode, "content", &message))
    }

    pub(super) fn go_over_to(&mut self, next: Active) -> Result<()> {
        self.work.give(&next);
        if let Some(detector) = &mut self.detector {
            detector.hand_over(&next, &self.mailbox)?;
        }
        self.next = Some(next);
        Ok(())
    }

    /// What `status` is told of the run.
    fn counted_limits(&self) -> Limits {
        (self.tally.correlation_limits(), self.tally.over_budget())
    }

    /// For `status`; without it that says that it does not know.
    pub(super) fn leave_word(&self) {
        let _ = self.active.in_force(self.counted_limits()).leave(&self.ship.options.state);
    }

    /// Says which content is in force, as a line of its own before a detector's first event.
    pub(super) fn tell_content(&self) -> Result<()> {
        self.leave_word();
        let given = self.active.given(0);
        let mut line = given.as_ref().map_or_else(no_content, content);
        if let Some(fields) = line.as_object_mut() {
            let header = self.active.content.as_ref().map(|content| &content.header);
            fields.insert("kind".into(), "content".into());
            fields.insert("rules".into(), header.map_or(0, |header| header.rule_count).into());
            fields.insert("canaries".into(), header.map_or(0, |header| header.canaries).into());
        }
        let shown = match self.ship.options.format {
            Format::Live => format!("  content: {}\n", self.active.in_words()),
            _ => format!("{line}\n"),
        };
        self.put(&shown, &line)
    }
}
