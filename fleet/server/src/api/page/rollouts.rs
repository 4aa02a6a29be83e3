//! Rollouts on the status page: the last ones, with the sentence that says why each stands where it does.

use std::fmt::Write as _;

use super::{escaped, start};
use crate::clock::words;
use crate::rollout::RolloutAnswer;

/// Rollouts that the page has.
const ROLLOUTS_MAX: usize = 20;

pub(super) fn table(page: &mut String, rollouts: &[RolloutAnswer]) {
    page.push_str("<h2>Rollouts</h2>\n");
    if rollouts.is_empty() {
        page.push_str("<p>None was begun. <code>watertight rollout start CONTENT</code> begins one.</p>\n");
        return;
    }
    page.push_str(
        "<table><tr><th>state</th><th>id</th><th>content</th><th>begun</th><th>stage</th><th>given</th><th>failed</th>\
         <th>healthy</th><th>of hosts</th><th>why</th></tr>\n",
    );
    for row in rollouts.iter().take(ROLLOUTS_MAX) {
        let class = match row.state.as_str() {
            "halted" | "holding" => "bad",
            "complete" | "open" => "good",
            _ => "gone",
        };
        let unreached = match row.unreached.len() {
            0 => String::new(),
            hosts => format!("; the recall has not reached {hosts} hosts"),
        };
        let few = if row.statistics == "too_few_hosts" { "; too few hosts for statistics" } else { "" };
        let _ = writeln!(
            page,
            "<tr class=\"{class}\"><td>{}</td><td>{}</td><td>{} version {} ({})</td><td>{}</td><td>{} of {}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}{few}{unreached}</td></tr>",
            escaped(&row.state),
            escaped(&row.id),
            escaped(&row.name),
            row.version,
            escaped(&start(&row.content)),
            words(row.started_ms),
            row.stage,
            row.stages,
            row.exposed,
            row.failed,
            row.healthy,
            row.hosts,
            escaped(&row.why)
        );
    }
    page.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_that_is_too_small_for_statistics_is_told_so() {
        assert!(shown("too_few_hosts", &[]).contains("all is well; too few hosts for statistics"));
        assert!(!shown("full", &[]).contains("too few"));
    }

    #[test]
    fn hosts_that_a_recall_has_not_reached_are_counted() {
        assert!(shown("full", &["h1", "h2"]).contains("all is well; the recall has not reached 2 hosts"));
        assert!(!shown("full", &[]).contains("recall"));
    }

    fn shown(statistics: &str, unreached: &[&str]) -> String {
        let row = serde_json::json!({
            "id": "r1", "state": "halted", "stage": 1, "stages": 1, "exposed": 1, "failed": 0, "why": "all is well", "content": "c",
            "name": "linux", "version": 1, "hosts": 1, "statistics": statistics, "healthy": 1, "has": 1, "started_ms": 1,
            "unreached": unreached
        });
        let mut page = String::new();
        table(&mut page, &[serde_json::from_value(row).expect("an answer")]);
        page
    }
}
