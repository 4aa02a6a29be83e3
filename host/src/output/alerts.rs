//! Alerts: of one event, and of several that belong together.

use std::io::{self, Write as _};

use serde_json::{json, Value as Json};
use watertight_engine::{Explanation, Rule};
use watertight_event::{Event, Field, Kind, View};

use super::lines::{alert_lines, clean, line};
use super::{sensor_event, Output};
use crate::alert::{level_name, Alert};
use crate::live::{Line, Part};
use crate::tree::Tree;
use crate::worker::correlations::CorrelationAlert;

impl Output {
    /// An alert of a correlation is told with its last event, and lists all that led to it.
    pub(super) fn correlation(&mut self, alert: &CorrelationAlert<'_>, tree: &Tree) -> io::Result<()> {
        self.alerts = self.alerts.saturating_add(1);
        let last = alert.stages.iter().rev().find_map(|stage| stage.event.clone());
        let last = last.unwrap_or_else(|| {
            sensor_event(Kind::SensorGap, "correlation", "the events that led to this alert are no longer at hand")
        });
        let ancestry = last.number(Field::Pid).map(|pid| tree.ancestry(pid)).unwrap_or_default();
        let answer = self.asks.ask(&last, alert.rule);
        let told = Alert { event: &last, rule: alert.rule, matches: &[], ancestry: &ancestry, answer };
        self.report(|| told.render_with(View::Native, &stages_json(alert)));
        if let Some(view) = self.view() {
            return writeln!(self.out, "{}", told.render_with(view, &stages_json(alert)));
        }
        let mut lines = alert_lines(&told, level_name(alert.rule.level()));
        let at = lines.len().min(2);
        for stage in alert.stages.iter().rev() {
            let what = stage
                .event
                .as_ref()
                .map_or_else(|| "no longer at hand".to_owned(), |event| line(event).trim().to_owned());
            let text = format!("    stage     {}: {what}", clean(stage.stage));
            lines.insert(at, Line { part: Part::Why, text });
        }
        self.alert_lines(lines)
    }

    pub(super) fn alert(
        &mut self,
        event: &Event,
        rule: Rule<'_>,
        why: Option<&Explanation>,
        tree: &Tree,
    ) -> io::Result<()> {
        let ancestry = event.number(Field::Pid).map(|pid| tree.ancestry(pid)).unwrap_or_default();
        let matches: Vec<(&str, &str, &str)> = why
            .iter()
            .flat_map(|why| &why.selections)
            .flat_map(|selection| &selection.matches)
            .map(|found| (found.field.as_str(), found.value.as_deref().unwrap_or_default(), found.pattern.as_str()))
            .collect();
        let answer = self.asks.ask(event, rule);
        let alert = Alert { event, rule, matches: &matches, ancestry: &ancestry, answer };
        self.report(|| alert.render(View::Native));
        if let Some(view) = self.view() {
            return writeln!(self.out, "{}", alert.render(view));
        }
        self.alert_lines(alert_lines(&alert, level_name(rule.level())))
    }

    fn report(&mut self, line: impl FnOnce() -> Json) {
        if let Some(records) = &mut self.records {
            records.write(format!("{}\n", line()).as_bytes());
        }
    }

    fn alert_lines(&mut self, lines: Vec<Line>) -> io::Result<()> {
        if let Some(live) = &mut self.live {
            live.alert(lines);
            return Ok(());
        }
        for Line { part, text } in lines {
            match part {
                Part::Alert if self.has_colour => writeln!(self.out, "\x1b[1;31m{text}\x1b[0m")?,
                _ => writeln!(self.out, "{text}")?,
            }
        }
        Ok(())
    }
}

/// What led to a correlation, for machines.
fn stages_json(alert: &CorrelationAlert<'_>) -> Json {
    let stages: Vec<Json> = alert
        .stages
        .iter()
        .map(|stage| {
            let event = stage.event.as_ref().map(|event| {
                json!({
                    "kind": event.kind.native(),
                    "boot_ns": event.boot_ns,
                    "pid": event.number(Field::Pid),
                    "process_id": event.text(Field::ProcessId),
                    "executable": event.text(Field::Executable),
                    "command_line": event.text(Field::CommandLine),
                    "path": event.text(Field::Path),
                })
            });
            json!({ "stage": stage.stage, "boot_ns": stage.moment.time_ns, "event": event })
        })
        .collect();
    json!({ "count": alert.correlated.count, "by_clock": alert.correlated.is_by_clock, "stages": stages })
}
