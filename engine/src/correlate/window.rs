//! Counts and measures over a window of time, for each group.
//!
//! Most are judged with every event over the timespan that ends with it: the window slides, and what has left it is let go one
//! event at a time, never by going through all of it. What more events could undo ("fewer than three", a mean) is judged once,
//! when the timespan that began with a group's first event is over. What has fired begins anew.

use super::capacity::Capacity;
use super::key::{mixed, Digest};
use super::machine::Shape;
use super::table::{Table, NOWHERE};
use super::{CorrelationLimits, Fired, Given, Moment, Occurrence, EVENTS_SHOWN_MAX};
use crate::image::layout::{CORRELATE_AVERAGE, CORRELATE_GREATEST, CORRELATE_LEAST, CORRELATE_SUM, CORRELATE_VALUES};

/// Keeps digests of values apart from those of groups.
const VALUE_SEED: u64 = 1;

/// The events of a group that are in its window, by the first and the last of them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    oldest: u32,
    newest: u32,
    count: u32,
}

/// An event, or a value by its last event.
#[derive(Clone, Debug)]
pub(super) struct Node {
    moment: Moment,
    older: u32,
    newer: u32,
    stage: u32,
}

/// What is known of a group beside its events.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    sum: i128,
    least: i64,
    greatest: i64,
    count: u64,
    first: Occurrence,
    last: Occurrence,
}

/// The state of a correlation that counts or measures.
#[derive(Debug)]
pub(super) struct Window {
    shape: Shape,
    is_at_end: bool,
    groups: Table,
    members: Vec<Group>,
    totals: Vec<Totals>,
    /// Of groups that are judged at the end: their keys, for what listens to them.
    parts: Vec<Digest>,
    nodes: Vec<Node>,
    nodes_max: usize,
    free: u32,
    amounts: Vec<i64>,
    /// By group and value, an entry has the number of its node.
    values: Option<Table>,
}

impl Window {
    pub(super) fn new(shape: Shape, is_at_end: bool, room: Capacity) -> Self {
        let has_values = shape.kind == CORRELATE_VALUES;
        let has_nodes = has_values || !is_at_end;
        let nodes_max = if has_nodes { room.members } else { 0 };
        let reserve = |is: bool, count: usize| if is { count } else { 0 };
        let is_sum = shape.kind == CORRELATE_SUM && !is_at_end;
        Self {
            shape,
            is_at_end,
            groups: Table::new(room.groups),
            members: Vec::with_capacity(room.groups),
            totals: Vec::with_capacity(reserve(is_at_end || is_sum, room.groups)),
            parts: Vec::with_capacity(reserve(is_at_end, room.groups.saturating_mul(shape.parts))),
            nodes: Vec::with_capacity(nodes_max),
            nodes_max,
            free: NOWHERE,
            amounts: Vec::with_capacity(reserve(is_sum, nodes_max)),
            values: has_values.then(|| Table::new(nodes_max)),
        }
    }

    pub(super) fn take(
        &mut self,
        given: &Given,
        events: &mut Vec<Occurrence>,
        limits: &mut CorrelationLimits,
    ) -> Option<Fired> {
        let group = self.group(given, limits)?;
        if !self.is_at_end {
            self.groups.touch(group, given.moment.time_ns);
            self.prune(group, given.moment.time_ns);
        }
        self.add_to_totals(group, given);
        if self.nodes_max > 0 {
            self.add_node(group, given, limits);
        }
        if self.is_at_end || !self.fits(group) {
            return None;
        }
        let fired = Fired { parts: given.parts, moment: given.moment, count: self.count(group), is_by_clock: false };
        self.show(group, events);
        self.drop_group(group);
        Some(fired)
    }

    /// A group whose time was over before now, if it fires.
    pub(super) fn due(&mut self, now_ns: u64, events: &mut Vec<Occurrence>) -> Option<Fired> {
        while let Some((group, deadline)) = self.first_deadline().filter(|(_, deadline)| *deadline < now_ns) {
            let fits = self.fits(group);
            let number = self.totals.get(group as usize).map_or(0, |totals| totals.last.moment.number);
            let moment = Moment { time_ns: deadline, number };
            let fired = Fired { parts: self.parts_of(group), moment, count: self.count(group), is_by_clock: true };
            if fits {
                self.show(group, events);
            }
            self.drop_group(group);
            if fits {
                return Some(fired);
            }
        }
        None
    }

    pub(super) fn has_clock(&self) -> bool {
        self.is_at_end
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.first_deadline().map(|(_, deadline)| deadline)
    }

    fn first_deadline(&self) -> Option<(u32, u64)> {
        let (group, since) = self.groups.oldest().filter(|_| self.is_at_end)?;
        Some((group, since.saturating_add(self.shape.timespan_ns)))
    }

    /// The group of an event; a new one takes the place of the oldest where there is no other.
    fn group(&mut self, given: &Given, limits: &mut CorrelationLimits) -> Option<u32> {
        let digest = self.shape.group_of(given);
        if let Some(known) = self.groups.find(digest) {
            return Some(known);
        }
        if self.groups.is_full() {
            self.evict(given.moment.time_ns, limits);
        }
        let number = self.groups.insert(digest, given.moment.time_ns)?;
        put(&mut self.members, number, Group { oldest: NOWHERE, newest: NOWHERE, count: 0 });
        if self.totals.capacity() > 0 {
            let occurrence = given.occurrence(&self.shape);
            let (least, greatest) = (i64::MAX, i64::MIN);
            put(
                &mut self.totals,
                number,
                Totals { sum: 0, least, greatest, count: 0, first: occurrence, last: occurrence },
            );
        }
        if self.is_at_end {
            let first = (number as usize).saturating_mul(self.shape.parts);
            for (part, digest) in given.parts.iter().take(self.shape.parts).enumerate() {
                put_at(&mut self.parts, first.saturating_add(part), *digest);
            }
        }
        Some(number)
    }

    /// Lets the oldest group go. That is a loss if it was still within its time.
    fn evict(&mut self, now_ns: u64, limits: &mut CorrelationLimits) {
        let Some((oldest, since)) = self.groups.oldest() else { return };
        if since.saturating_add(self.shape.timespan_ns) >= now_ns {
            limits.evicted_groups = limits.evicted_groups.saturating_add(1);
        }
        self.drop_group(oldest);
    }

    fn add_to_totals(&mut self, group: u32, given: &Given) {
        let occurrence = given.occurrence(&self.shape);
        if let Some(totals) = self.totals.get_mut(group as usize) {
            totals.sum = totals.sum.saturating_add(i128::from(given.amount));
            totals.least = totals.least.min(given.amount);
            totals.greatest = totals.greatest.max(given.amount);
            totals.count = totals.count.saturating_add(1);
            totals.last = occurrence;
        }
    }

    fn add_node(&mut self, group: u32, given: &Given, limits: &mut CorrelationLimits) {
        let value = mixed(VALUE_SEED, [self.shape.group_of(given), given.value].into_iter());
        if let Some(known) = self.values.as_ref().and_then(|values| values.find(value)) {
            self.unlink(group, known);
            return self.append(group, known, given);
        }
        let node = loop {
            if let Some(node) = self.new_node(value, given.moment.time_ns) {
                break node;
            }
            match self.groups.oldest() {
                Some((oldest, _)) if oldest != group => self.evict(given.moment.time_ns, limits),
                _ => {
                    limits.cut_members = limits.cut_members.saturating_add(1);
                    let Some(oldest) = self.members.get(group as usize).map(|group| group.oldest) else { return };
                    if oldest == NOWHERE {
                        return;
                    }
                    self.drop_node(group, oldest);
                }
            }
        };
        self.append(group, node, given);
    }

    /// A node that is in no group yet.
    fn new_node(&mut self, value: Digest, time_ns: u64) -> Option<u32> {
        let fresh = Node { moment: Moment::default(), older: NOWHERE, newer: NOWHERE, stage: 0 };
        let number = match &mut self.values {
            Some(values) => values.insert(value, time_ns)?,
            None => match self.nodes.get(self.free as usize) {
                Some(freed) => std::mem::replace(&mut self.free, freed.newer),
                None if self.nodes.len() < self.nodes_max => u32::try_from(self.nodes.len()).ok()?,
                None => return None,
            },
        };
        put(&mut self.nodes, number, fresh);
        Some(number)
    }

    fn append(&mut self, group: u32, number: u32, given: &Given) {
        let Some(member) = self.members.get_mut(group as usize) else { return };
        let older = std::mem::replace(&mut member.newest, number);
        member.count = member.count.saturating_add(1);
        if older == NOWHERE {
            member.oldest = number;
        }
        if let Some(node) = self.nodes.get_mut(older as usize) {
            node.newer = number;
        }
        if let Some(node) = self.nodes.get_mut(number as usize) {
            *node = Node { moment: given.moment, older, newer: NOWHERE, stage: given.stage };
        }
        if self.amounts.capacity() > 0 {
            put(&mut self.amounts, number, given.amount);
        }
    }

    /// Takes the node out of its group; it stays what it is.
    fn unlink(&mut self, group: u32, number: u32) {
        let Some((older, newer)) = self.nodes.get(number as usize).map(|node| (node.older, node.newer)) else { return };
        let Some(member) = self.members.get_mut(group as usize) else { return };
        member.count = member.count.saturating_sub(1);
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = newer,
            None => member.oldest = newer,
        }
        match self.nodes.get_mut(newer as usize) {
            Some(node) => node.older = older,
            None => member.newest = older,
        }
    }

    fn drop_node(&mut self, group: u32, number: u32) {
        self.unlink(group, number);
        if let (Some(totals), Some(amount)) = (self.totals.get_mut(group as usize), self.amounts.get(number as usize)) {
            totals.sum = totals.sum.saturating_sub(i128::from(*amount));
        }
        match &mut self.values {
            Some(values) => values.remove(number),
            None => {
                let free = std::mem::replace(&mut self.free, number);
                if let Some(node) = self.nodes.get_mut(number as usize) {
                    node.newer = free;
                }
            }
        }
    }

    fn drop_group(&mut self, group: u32) {
        while let Some(oldest) = self.members.get(group as usize).map(|group| group.oldest).filter(|at| *at != NOWHERE)
        {
            self.drop_node(group, oldest);
        }
        self.groups.remove(group);
    }

    /// Lets go what has left the window that ends now.
    fn prune(&mut self, group: u32, now_ns: u64) {
        while let Some(oldest) = self.members.get(group as usize).map(|group| group.oldest) {
            let Some(node) = self.nodes.get(oldest as usize) else { return };
            if node.moment.time_ns.saturating_add(self.shape.timespan_ns) >= now_ns {
                return;
            }
            self.drop_node(group, oldest);
        }
    }

    fn count(&self, group: u32) -> u64 {
        let totals = || self.totals.get(group as usize).map_or(0, |totals| totals.count);
        let members = || self.members.get(group as usize).map_or(0, |group| u64::from(group.count));
        if self.nodes_max > 0 {
            members()
        } else {
            totals()
        }
    }

    fn fits(&self, group: u32) -> bool {
        let totals = self.totals.get(group as usize);
        let of = |pick: fn(&Totals) -> i128| totals.map_or(0, pick);
        match self.shape.kind {
            CORRELATE_SUM => self.shape.holds(of(|totals| totals.sum), 1),
            CORRELATE_AVERAGE => self.shape.holds(of(|totals| totals.sum), self.count(group)),
            CORRELATE_LEAST => self.shape.holds(of(|totals| i128::from(totals.least)), 1),
            CORRELATE_GREATEST => self.shape.holds(of(|totals| i128::from(totals.greatest)), 1),
            _ => self.shape.holds(i128::from(self.count(group)), 1),
        }
    }

    /// The last events of the group, the first of them first.
    fn show(&self, group: u32, events: &mut Vec<Occurrence>) {
        if self.nodes_max == 0 {
            if let Some(totals) = self.totals.get(group as usize) {
                events.push(totals.first);
                events.extend((totals.count > 1).then_some(totals.last));
            }
            return;
        }
        let mut at = self.members.get(group as usize).map_or(NOWHERE, |group| group.newest);
        while let Some(node) = self.nodes.get(at as usize).filter(|_| events.len() < EVENTS_SHOWN_MAX) {
            events.push(self.shape.occurrence(node.stage, node.moment));
            at = node.older;
        }
        events.reverse();
    }

    fn parts_of(&self, group: u32) -> [Digest; super::PARTS] {
        let first = (group as usize).saturating_mul(self.shape.parts);
        let mut parts = [0; super::PARTS];
        for (to, from) in parts.iter_mut().take(self.shape.parts).zip(self.parts.iter().skip(first)) {
            *to = *from;
        }
        parts
    }
}

/// Puts it where the number says: among those that are there, or behind the last of them.
pub(super) fn put<T>(list: &mut Vec<T>, number: u32, value: T) {
    put_at(list, number as usize, value);
}

pub(super) fn put_at<T>(list: &mut Vec<T>, number: usize, value: T) {
    match list.get_mut(number) {
        Some(place) => *place = value,
        None => list.push(value),
    }
}
