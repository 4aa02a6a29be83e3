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
        let _ = writeln!(
            page,
            "<tr class=\"{class}\"><td>{}</td><td>{}</td><td>{} version {} ({})</td><td>{}</td><td>{} of {}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
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
