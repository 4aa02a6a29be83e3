//! How much a correlation remembers in the bytes that it may take: groups, and what of each group.

use super::sequence::Partial;
use super::table::ENTRY_BYTES;
use super::window::{Group, Node, Totals};
use super::Moment;
use crate::image::layout::{
    CorrelationRecord, CORRELATE_COUNT, CORRELATE_SEQUENCE, CORRELATE_SUM, CORRELATE_TEMPORAL, CORRELATE_VALUES,
    FLAG_AT_END,
};

/// Room for this many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Groups, or of a sequence those that are under way.
    pub groups: usize,
    /// Events or values of all groups together.
    pub members: usize,
}

impl Capacity {
    /// No more than what so many events at the correlation's inputs can fill: each begins one group, and is one member, at most.
    pub(super) fn at_most(self, given_max: usize) -> Self {
        let most = given_max.max(1);
        Self { groups: self.groups.min(most), members: self.members.min(most) }
    }
}

/// Members that are reckoned for a group: most groups have few.
const EVENTS_A_GROUP: u64 = 2;
const VALUES_A_GROUP: u64 = 4;

/// What a part of a key takes.
const PART_BYTES: u64 = 16;

/// The room that a correlation has; `None` where that is not enough for a single group that fires.
#[must_use]
pub fn capacity(correlation: &CorrelationRecord) -> Option<Capacity> {
    let (bytes, kind) = (correlation.state_bytes.get(), correlation.kind.get());
    let (group_bytes, member_bytes, members_a_group) = sizes(correlation)?;
    let reckoned = member_bytes.checked_mul(members_a_group)?.checked_add(group_bytes)?;
    let groups = bytes.checked_div(reckoned)?;
    let members = groups.checked_mul(members_a_group)?;
    let is_counted = matches!(kind, CORRELATE_COUNT | CORRELATE_VALUES) && member_bytes > 0;
    let least = if is_counted { correlation.least.get().max(1) } else { 1 };
    let (groups, members) = if member_bytes > 0 && members < least {
        let left = bytes.checked_sub(least.checked_mul(member_bytes)?)?;
        (left.checked_div(group_bytes)?, least)
    } else {
        (groups, members)
    };
    let room = Capacity { groups: usize::try_from(groups).ok()?, members: usize::try_from(members).ok()? };
    (room.groups > 0).then_some(room)
}

/// Bytes of a group and of a member, and how many members are reckoned for a group.
fn sizes(correlation: &CorrelationRecord) -> Option<(u64, u64, u64)> {
    let (kind, is_at_end) = (correlation.kind.get(), correlation.flags.get() & FLAG_AT_END != 0);
    let inputs = u64::from(correlation.inputs.count.get());
    let parts = u64::from(correlation.parts.get()).checked_mul(PART_BYTES)?;
    let moments = inputs.checked_mul(size_of::<Moment>() as u64)?;
    let group = ENTRY_BYTES.checked_add(size_of::<Group>() as u64)?;
    let totals = size_of::<Totals>() as u64;
    let node = size_of::<Node>() as u64;
    Some(match kind {
        CORRELATE_SEQUENCE => {
            let partial = ENTRY_BYTES.checked_add(size_of::<Partial>() as u64)?.checked_add(parts)?;
            let partial = partial.checked_add(moments)?;
            // What waits for a stage that must stay away has a table of its own.
            (if correlation.absent_ns.get() > 0 { partial.checked_mul(2)? } else { partial }, 0, 0)
        }
        CORRELATE_TEMPORAL => (ENTRY_BYTES.checked_add(8)?.checked_add(moments)?, 0, 0),
        CORRELATE_VALUES => {
            let value = node.checked_add(ENTRY_BYTES)?;
            let group = if is_at_end { group.checked_add(totals)?.checked_add(parts)? } else { group };
            (group, value, VALUES_A_GROUP)
        }
        CORRELATE_COUNT if !is_at_end => (group, node, EVENTS_A_GROUP),
        CORRELATE_SUM if !is_at_end => (group.checked_add(totals)?, node.checked_add(8)?, EVENTS_A_GROUP),
        _ => (group.checked_add(totals)?.checked_add(parts)?, 0, 0),
    })
}
