//! Rings on the status page: what was said of each, with why and until when.

use std::fmt::Write as _;

use super::escaped;
use crate::clock::words;
use crate::rollout::RingAnswer;

/// Rings of which something was said, if there are any.
pub(super) fn table(page: &mut String, rings: &[RingAnswer], now_ms: u64) {
    if rings.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Rings</h2>\n<table><tr><th>ring</th><th>hosts</th><th>what was said of it</th><th>now</th></tr>\n",
    );
    for ring in rings {
        let said = ring.policy.says(now_ms, words).join("; ");
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&ring.ring),
            ring.hosts,
            escaped(&said),
            escaped(&ring.closed)
        );
    }
    page.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use watertight_fleet::plan::ring::{Exceptions, RingPolicy, Standing};

    use super::*;

    #[test]
    fn a_ring_is_told_with_the_note_and_the_end_of_what_was_said_of_it() {
        let standing = Standing { note: "<slow> disks".into(), until_ms: Some(86_400_000) };
        let exceptions = Exceptions { delay: Some(standing), ..Exceptions::default() };
        let policy = RingPolicy { delay_h: 48, exceptions, ..RingPolicy::default() };
        let ring = RingAnswer { ring: "early".into(), policy, closed: "the window is closed".into(), hosts: 3 };
        let mut page = String::new();
        table(&mut page, &[ring], 1);
        let said = "48 h after its signed earliest time until 1970-01-02T00:00:00Z: &lt;slow&gt; disks</td>";
        assert!(page.contains(said) && page.contains("<td>early</td><td>3</td>"), "{page}");
        assert!(page.contains("<td>the window is closed</td>"), "{page}");
        let mut none = String::new();
        table(&mut none, &[], 1);
        assert_eq!(none, "");
    }
}
