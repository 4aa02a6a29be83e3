//! Hosts that were not there when a rollout was planned: those that were off, and those that enrolled since. They get the content by their
//! bucket, so what they do with it counts as that of any other host.

use std::collections::BTreeSet;

use watertight_content_repo::director::bucket;
use watertight_content_repo::release::ContentId;
use watertight_fleet::plan::HostId;
use watertight_fleet::rollout::State;

use super::live::Live;
use crate::hosts::Host;
use crate::server::Server;

/// Takes in those that are online by now; of a rollout that was halted, those that have its content.
pub(super) fn take_in(server: &Server, live: &mut Live, now_ms: u64) {
    let is_halted = live.running.state() == State::Halted;
    let rings: BTreeSet<String> = live.running.spec().rings().into_iter().map(str::to_owned).collect();
    let is_there = |host: &Host, live: &Live| {
        let content = host.row.seen.state.content.as_ref().map_or("", |content| content.id.as_str());
        let is_online = host.row.seen.last_seen_ms > 0 && host.absence_by_its_promise(now_ms).is_none();
        is_online && (!is_halted || content == live.running.spec().content)
    };
    for cell in server.hosts.all() {
        let id = {
            let host = cell.lock();
            let is_ours = rings.contains(&host.row.ring) && host.row.revoked_ms.is_none();
            let is_new = is_ours && live.index(&host.row.id).is_none();
            (is_new && is_there(&host, live)).then(|| host.row.id.clone())
        };
        if let Some(id) = id {
            take_in_one(server, live, &id);
        }
    }
}

/// Takes in a host that says that it had the content, if it is one that may have it.
pub(super) fn take_in_one(server: &Server, live: &mut Live, id: &str) {
    let Some(cell) = server.hosts.get(id) else { return };
    let ring = cell.lock().row.ring.clone();
    let spec = live.running.spec();
    let Ok(content) = spec.content.parse::<ContentId>() else { return };
    let bucket = bucket(content, id);
    let of_ring = spec.members.iter().find(|members| members.ring == ring);
    if of_ring.is_some_and(|members| members.schedule.opens_ms(bucket).is_some()) {
        live.join(bucket, HostId(id.to_owned()), cell);
    }
}
