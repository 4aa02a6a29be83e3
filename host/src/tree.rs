//! The process tree: what is known of each process, so that an event which only names a process can be told in full.
//!
//! Keyed by pid, checked by start time: a pid that is used again is another process. Ended processes are kept for a while,
//! because events of other sources come late; the memory is bounded by `ENDED_MAX`. So are the programs that a process ran
//! before its last exec: execs are read first, and what was done before one must not be told of the program after it.

use std::collections::{HashSet, VecDeque};

use watertight_event::{Event, Field, Kind, Source, Value};
use watertight_sensor_fallback::Container;

use crate::by_number::ByNumber;
use crate::users::Names;

/// Ended processes that are still known. Late events come within milliseconds; at 2,000 exits a second this is 2 s.
const ENDED_MAX: usize = 4_096;
/// Programs of one process that are still known beside the one that it runs: `sh -c`, `env` and `sudo` follow one another
/// within milliseconds.
const EARLIER_MAX: usize = 4;
/// How long after an exec an event of before may still come, nanoseconds.
const LATE_NS: u64 = 2_000_000_000;
/// Deepest ancestry that is followed: a bound against loops in damaged input, far beyond real trees.
const DEPTH_MAX: u64 = 128;

/// USER_HZ is 100 on every Linux: /proc tells starts to this step.
pub(crate) const TICK_NS: u64 = 10_000_000;

/// The fields that an exec sets and later events of the process inherit.
const REMEMBERED: [Field; 18] = [
    Field::ProcessId,
    Field::StartNs,
    Field::Executable,
    Field::ExecutableDev,
    Field::ExecutableInode,
    Field::ExecutableGeneration,
    Field::IsMemfd,
    Field::IsDeleted,
    Field::CommandLine,
    Field::Cwd,
    Field::User,
    Field::Uid,
    Field::Gid,
    Field::Group,
    Field::CgroupId,
    Field::CgroupPath,
    Field::ContainerId,
    Field::ParentPid,
];

#[derive(Clone, Debug, Default)]
struct Known {
    /// Since when it is so, nanoseconds since boot.
    since_ns: u64,
    /// What it was before.
    earlier: Option<Box<Known>>,
    fields: Vec<(Field, Value)>,
    parent_pid: u64,
    depth: u64,
}

impl Known {
    fn get(&self, field: Field) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    /// What it was at that time; the earliest that is known, if that is later.
    fn at(&self, boot_ns: u64) -> &Self {
        let mut known = self;
        while let Some(earlier) = known.earlier.as_deref().filter(|_| boot_ns < known.since_ns) {
            known = earlier;
        }
        known
    }

    /// Keeps this many programs beside the present one.
    fn keep_earlier(&mut self, most: usize) {
        let mut last = self;
        for _ in 0..most {
            match last.earlier {
                Some(ref mut earlier) => last = earlier,
                None => return,
            }
        }
        last.earlier = None;
    }

    fn set(&mut self, field: Field, value: Value) {
        match self.fields.iter_mut().find(|(name, _)| *name == field) {
            Some(slot) => slot.1 = value,
            None => self.fields.push((field, value)),
        }
    }
}

/// What is known of the processes of this machine.
#[derive(Debug, Default)]
pub struct Tree {
    processes: ByNumber<Known>,
    ended: VecDeque<(u64, Option<Value>)>,
    names: Names,
}

impl Tree {
    /// An empty tree that names users by these names.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self { processes: ByNumber::default(), ended: VecDeque::new(), names }
    }

    /// How many processes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Learns from an event and fills in what it does not carry itself.
    pub fn enrich(&mut self, event: &mut Event) {
        self.name_ids(event);
        name_container(event);
        if let Some(pid) = event.number(Field::Pid) {
            match event.kind {
                Kind::ProcessExec => self.learn_exec(pid, event),
                _ => self.fill(pid, event),
            }
            self.fill_parent(pid, event);
        }
        if let (Some(parent), Some(child)) = (event.number(Field::Pid), event.number(Field::ChildPid)) {
            self.learn_fork(parent, child, event);
        }
        if let Some(target) = event.number(Field::TargetPid).and_then(|pid| self.processes.get(&pid)) {
            if let Some(executable) = target.get(Field::Executable) {
                event.set(Field::TargetExecutable, executable.clone());
            }
        }
        if event.kind == Kind::ProcessExit {
            if let Some(pid) = event.number(Field::Pid).filter(|pid| self.is_known_as(*pid, event)) {
                self.forget_later(pid);
            }
        }
    }

    /// Learns of a process that was there before the run. What is known of it already stays: a second source only adds what
    /// the first did not tell.
    pub fn learn_there(&mut self, mut event: Event) {
        let Some(pid) = event.number(Field::Pid) else { return };
        self.name_ids(&mut event);
        name_container(&mut event);
        let has_id = event.get(Field::ProcessId).is_some();
        match self.processes.get_mut(&pid) {
            Some(known) if if has_id { is_same(known, &event) } else { is_same_start(known, &event) } => {
                for field in REMEMBERED {
                    if let (Some(value), None) = (event.get(field), known.get(field)) {
                        known.fields.push((field, value.clone()));
                    }
                }
            }
            _ => self.learn_exec(pid, &mut event),
        }
    }

    /// Learns of a process anew after events were lost: what is known of it may be of the program before.
    pub fn learn_anew(&mut self, mut event: Event) {
        let Some(pid) = event.number(Field::Pid) else { return };
        self.name_ids(&mut event);
        name_container(&mut event);
        self.learn_exec(pid, &mut event);
    }

    /// Forgets all processes but these: the others' ends were lost.
    pub fn keep_only(&mut self, pids: &HashSet<u64>) {
        self.processes.retain(|pid, _| pids.contains(pid));
    }

    /// Executables of the process and its ancestors, nearest first, for the explanation of an alert.
    #[must_use]
    pub fn ancestry(&self, pid: u64) -> Vec<String> {
        let mut line = Vec::new();
        let mut at = pid;
        while let Some(known) = self.processes.get(&at) {
            let name = match known.get(Field::Executable) {
                Some(Value::Text(text)) => text.lossy().into_owned(),
                _ => "?".into(),
            };
            line.push(format!("{name} ({at})"));
            if known.parent_pid == 0 || known.parent_pid == at || line.len() >= 32 {
                break;
            }
            at = known.parent_pid;
        }
        line
    }

    fn name_ids(&self, event: &mut Event) {
        if let Some(name) = event.number(Field::Uid).and_then(|uid| self.names.user(uid)) {
            event.set(Field::User, name.clone());
        }
        if let Some(name) = event.number(Field::Gid).and_then(|gid| self.names.group(gid)) {
            event.set(Field::Group, name.clone());
        }
    }

    fn learn_exec(&mut self, pid: u64, event: &mut Event) {
        let mut before = self.processes.remove(&pid).unwrap_or_default();
        if event.get(Field::CgroupPath).is_none() {
            for field in [Field::CgroupPath, Field::ContainerId] {
                if let Some(value) = before.get(field) {
                    event.set(field, value.clone());
                }
            }
        }
        let parent_pid = event.number(Field::ParentPid).unwrap_or(before.parent_pid);
        let depth = self.depth_below(parent_pid);
        let fields = Vec::with_capacity(REMEMBERED.len());
        let mut known = Known { since_ns: event.boot_ns, earlier: None, fields, parent_pid, depth };
        for field in REMEMBERED {
            if let Some(value) = event.get(field) {
                known.fields.push((field, value.clone()));
            }
        }
        event.set(Field::Depth, depth);
        // Other sources tell of an exec when they come to read of it: what was done meanwhile was done by the new program.
        let is_timed = matches!(event.source, Source::TpBtf | Source::BpfLsm);
        if is_timed && !before.fields.is_empty() && is_same(&before, event) {
            before.keep_earlier(if event.boot_ns.saturating_sub(before.since_ns) < LATE_NS {
                EARLIER_MAX - 1
            } else {
                0
            });
            known.earlier = Some(Box::new(before));
        }
        self.processes.insert(pid, known);
    }

    /// Whether the process that is known by this pid is the event's, and not a later one with the same pid.
    fn is_known_as(&self, pid: u64, event: &Event) -> bool {
        self.processes.get(&pid).is_none_or(|known| is_same(known, event))
    }

    fn learn_fork(&mut self, parent: u64, child: u64, event: &Event) {
        let is_there = self
            .processes
            .get(&child)
            .is_some_and(|known| known.get(Field::ProcessId).is_some_and(|id| event.get(Field::ChildId) == Some(id)));
        let of_parent = self.processes.get(&parent).map(|known| {
            let Known { fields, parent_pid, depth, .. } = known.at(event.boot_ns);
            Known { fields: fields.clone(), parent_pid: *parent_pid, depth: *depth, ..Known::default() }
        });
        let Some(of_parent) = of_parent else {
            // The parent ended before the snapshot, which has the child: more than could be said of it here.
            if !is_there {
                self.learn_child(Known::default(), parent, child, event);
            }
            return;
        };
        self.learn_child(of_parent, parent, child, event);
    }

    fn learn_child(&mut self, mut known: Known, parent: u64, child: u64, event: &Event) {
        known.since_ns = event.boot_ns;
        known.parent_pid = parent;
        known.depth = self.depth_below(parent);
        known.set(Field::ParentPid, Value::Number(parent));
        if let Some(id) = event.get(Field::ChildId) {
            known.set(Field::ProcessId, id.clone());
        }
        known.fields.retain(|(field, _)| *field != Field::StartNs);
        self.processes.insert(child, known);
    }

    fn depth_below(&self, parent: u64) -> u64 {
        self.processes.get(&parent).map_or(0, |parent| parent.depth.saturating_add(1).min(DEPTH_MAX))
    }

    /// Fills what the event does not say, if the known process is the event's: the same id where both have one.
    fn fill(&mut self, pid: u64, event: &mut Event) {
        let Some(known) = self.processes.get_mut(&pid) else { return };
        if !is_same(known, event) {
            return;
        }
        if known.earlier.is_some() && event.boot_ns > known.since_ns.saturating_add(LATE_NS) {
            known.earlier = None;
        }
        let known = known.at(event.boot_ns);
        // Moved to another control group since: what its old one said of it is not true any more.
        let is_moved = match (known.get(Field::CgroupId), event.get(Field::CgroupId)) {
            (Some(of_known), Some(of_event)) => of_known != of_event,
            _ => false,
        };
        // Ids of its own that have no name must not get the name of others.
        let has_own_ids = event.has(Field::Uid);
        for (field, value) in &known.fields {
            let is_stale = is_moved && matches!(field, Field::CgroupPath | Field::ContainerId)
                || has_own_ids && matches!(field, Field::User | Field::Group);
            if event.get(*field).is_none() && !is_stale {
                event.set(*field, value.clone());
            }
        }
        event.set(Field::Depth, known.depth);
    }

    fn fill_parent(&self, pid: u64, event: &mut Event) {
        let parent = event.number(Field::ParentPid).or_else(|| self.processes.get(&pid).map(|known| known.parent_pid));
        let Some((parent, known)) = parent.and_then(|parent| Some((parent, self.processes.get(&parent)?))) else {
            return;
        };
        let known = known.at(event.boot_ns);
        // What is told of a parent is told of a process that has a number.
        if !event.has(Field::ParentPid) {
            event.set(Field::ParentPid, parent);
        }
        let from_to = [
            (Field::Executable, Field::ParentExecutable),
            (Field::CommandLine, Field::ParentCommandLine),
            (Field::User, Field::ParentUser),
            (Field::ProcessId, Field::ParentId),
        ];
        for (from, to) in from_to {
            if let (Some(value), None) = (known.get(from), event.get(to)) {
                event.set(to, value.clone());
            }
        }
    }

    fn forget_later(&mut self, pid: u64) {
        let id = self.processes.get(&pid).and_then(|known| known.get(Field::ProcessId)).cloned();
        self.ended.push_back((pid, id));
        while self.ended.len() > ENDED_MAX {
            let Some((pid, id)) = self.ended.pop_front() else { break };
            // A new process may have the pid by now: it is not the one that ended.
            let is_same = self.processes.get(&pid).is_some_and(|known| known.get(Field::ProcessId) == id.as_ref());
            if is_same {
                self.processes.remove(&pid);
            }
        }
    }
}

/// Whether both started within the same tick: all that /proc can say.
fn is_same_start(known: &Known, event: &Event) -> bool {
    match (event.number(Field::StartNs), known.get(Field::StartNs)) {
        (Some(of_event), Some(Value::Number(of_known))) => of_event / TICK_NS == of_known / TICK_NS,
        _ => false,
    }
}

/// The container, where the control group's name tells one.
fn name_container(event: &mut Event) {
    if event.get(Field::ContainerId).is_some() {
        return;
    }
    if let Some(container) = event.text(Field::CgroupPath).and_then(|path| Container::from_cgroup_path(&path)) {
        event.set(Field::ContainerId, container.id());
    }
}

/// Whether the event speaks of the known process: by id, or by start where /proc told of it, which counts in ticks.
fn is_same(known: &Known, event: &Event) -> bool {
    match (event.get(Field::ProcessId), known.get(Field::ProcessId)) {
        (Some(of_event), Some(of_known)) => of_event == of_known,
        (Some(_), None) => match (event.number(Field::StartNs), known.get(Field::StartNs)) {
            (Some(of_event), Some(Value::Number(of_known))) => of_event / TICK_NS == of_known / TICK_NS,
            _ => true,
        },
        (None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use watertight_event::Outcome;

    use super::*;

    fn exec(pid: u64, parent: u64, path: &str) -> Event {
        Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Pid, pid)
            .with(Field::ParentPid, parent)
            .with(Field::ProcessId, format!("b-{pid}").as_str())
            .with(Field::Executable, path)
    }

    #[test]
    fn an_event_that_only_names_a_process_is_told_in_full() {
        let mut tree = Tree::default();
        tree.enrich(&mut exec(1, 0, "/sbin/init"));
        tree.enrich(&mut exec(7, 1, "/bin/sh"));
        let mut event = Event::new(Kind::FileUnlink, Outcome::Done, Source::Fanotify, 2).with(Field::Pid, 7_u64);
        tree.enrich(&mut event);
        assert_eq!(event.text(Field::Executable).as_deref(), Some("/bin/sh"));
        assert_eq!(event.text(Field::ParentExecutable).as_deref(), Some("/sbin/init"));
        assert_eq!(event.number(Field::Depth), Some(1));
        assert_eq!(tree.ancestry(7), ["/bin/sh (7)", "/sbin/init (1)"]);
    }

    #[test]
    fn a_parent_that_is_known_by_its_fork_alone_is_told_with_its_number() {
        let mut tree = Tree::default();
        tree.enrich(&mut exec(7, 1, "/bin/sh"));
        let fork = Event::new(Kind::ProcessFork, Outcome::Done, Source::ProcConnector, 2).with(Field::Pid, 7_u64);
        tree.enrich(&mut fork.with(Field::ChildPid, 8_u64));
        // Gone before /proc could be read: the exec names the process and nothing else.
        let mut vanished =
            Event::new(Kind::ProcessExec, Outcome::Done, Source::ProcConnector, 3).with(Field::Pid, 8_u64);
        tree.enrich(&mut vanished);
        assert_eq!(vanished.text(Field::ParentExecutable).as_deref(), Some("/bin/sh"));
        assert_eq!(vanished.number(Field::ParentPid), Some(7));
    }

    #[test]
    fn who_acted_is_told_by_name_where_only_the_process_is_known_and_by_no_name_of_other_ids() {
        let mut tree = Tree::default();
        let named = exec(7, 1, "/bin/sh").with(Field::Uid, 0_u64).with(Field::Gid, 0_u64);
        tree.enrich(&mut named.with(Field::User, "root").with(Field::Group, "root"));
        let event = Event::new(Kind::FileUnlink, Outcome::Done, Source::Fanotify, 2).with(Field::Pid, 7_u64);
        let (mut marked, mut changed) = (event.clone(), event.with(Field::Uid, 4_000_u64).with(Field::Gid, 4_000_u64));
        tree.enrich(&mut marked);
        assert_eq!((marked.text(Field::User).as_deref(), marked.number(Field::Gid)), (Some("root"), Some(0)));
        assert_eq!(marked.text(Field::Group).as_deref(), Some("root"));
        tree.enrich(&mut changed);
        assert_eq!((changed.get(Field::User), changed.get(Field::Group)), (None, None));
    }

    #[test]
    fn what_was_done_before_an_exec_is_told_of_the_program_before_it() {
        let mut tree = Tree::default();
        let at = |mut event: Event, boot_ns| {
            event.boot_ns = boot_ns;
            event
        };
        for (path, boot_ns) in [("/bin/sh", 10), ("/usr/bin/env", 20), ("/usr/bin/curl", 30)] {
            tree.enrich(&mut at(exec(7, 1, path), boot_ns));
        }
        let mut told = |boot_ns| {
            let event = Event::new(Kind::FileCreate, Outcome::Done, Source::BpfLsm, 0).with(Field::Pid, 7_u64);
            let mut event = at(event.with(Field::ProcessId, "b-7"), boot_ns);
            tree.enrich(&mut event);
            event.text(Field::Executable).map(|path| path.into_owned())
        };
        assert_eq!(told(29).as_deref(), Some("/usr/bin/env"));
        assert_eq!(told(19).as_deref(), Some("/bin/sh"));
        assert_eq!(told(31).as_deref(), Some("/usr/bin/curl"));
        // Long after, nobody asks any more.
        assert_eq!(told(31 + LATE_NS).as_deref(), Some("/usr/bin/curl"));
        assert_eq!(told(29).as_deref(), Some("/usr/bin/curl"));
    }

    #[test]
    fn a_process_that_executes_again_and_again_keeps_few_programs() {
        let mut tree = Tree::default();
        for _ in 0..100 {
            tree.enrich(&mut exec(7, 1, "/bin/sh"));
        }
        let mut kept = 0;
        let mut known = tree.processes.get(&7);
        while let Some(earlier) = known.and_then(|known| known.earlier.as_deref()) {
            kept += 1;
            known = Some(earlier);
        }
        assert_eq!(kept, EARLIER_MAX);
    }

    #[test]
    fn a_pid_used_again_does_not_lend_its_old_name() {
        let mut tree = Tree::default();
        tree.enrich(&mut exec(7, 0, "/bin/old"));
        let mut event = Event::new(Kind::NetworkConnect, Outcome::Done, Source::TpBtf, 2)
            .with(Field::Pid, 7_u64)
            .with(Field::ProcessId, "b-another");
        tree.enrich(&mut event);
        assert_eq!(event.get(Field::Executable), None);
    }

    fn there(pid: u64, path: &str) -> Event {
        Event::new(Kind::ProcessExec, Outcome::Unknown, Source::Iterator, 0)
            .with(Field::Pid, pid)
            .with(Field::ProcessId, format!("b-{pid}").as_str())
            .with(Field::Executable, path)
    }

    #[test]
    fn a_fork_told_after_the_snapshot_that_has_its_child_takes_nothing_away() {
        let mut tree = Tree::default();
        tree.learn_there(there(8, "/bin/child"));
        let mut fork = Event::new(Kind::ProcessFork, Outcome::Done, Source::TpBtf, 2)
            .with(Field::Pid, 7_u64)
            .with(Field::ChildPid, 8_u64)
            .with(Field::ChildId, "b-8");
        tree.enrich(&mut fork);
        let mut event = Event::new(Kind::FileUnlink, Outcome::Done, Source::BpfLsm, 3).with(Field::Pid, 8_u64);
        tree.enrich(&mut event);
        assert_eq!(event.text(Field::Executable).as_deref(), Some("/bin/child"));
    }

    #[test]
    fn the_exit_of_an_earlier_process_does_not_forget_the_one_that_has_its_pid_now() {
        let mut tree = Tree::default();
        tree.learn_there(there(8, "/bin/now"));
        let mut exit = Event::new(Kind::ProcessExit, Outcome::Done, Source::TpBtf, 2)
            .with(Field::Pid, 8_u64)
            .with(Field::ProcessId, "b-before");
        for _ in 0..=ENDED_MAX {
            tree.enrich(&mut exit);
        }
        assert_eq!(tree.ancestry(8), ["/bin/now (8)"]);
    }

    #[test]
    fn what_proc_tells_beside_the_iterator_adds_and_does_not_replace() {
        let mut tree = Tree::default();
        tree.learn_there(there(8, "/bin/now").with(Field::StartNs, 3 * TICK_NS + 5));
        let proc = Event::new(Kind::ProcessExec, Outcome::Unknown, Source::ProcPoll, 0)
            .with(Field::Pid, 8_u64)
            .with(Field::StartNs, 3 * TICK_NS)
            .with(Field::Executable, "/bin/other")
            .with(Field::CommandLine, "now --please");
        tree.learn_there(proc);
        let mut event = Event::new(Kind::FileUnlink, Outcome::Done, Source::BpfLsm, 3).with(Field::Pid, 8_u64);
        tree.enrich(&mut event);
        assert_eq!(event.text(Field::Executable).as_deref(), Some("/bin/now"));
        assert_eq!(event.text(Field::CommandLine).as_deref(), Some("now --please"));
    }

    #[test]
    fn a_container_is_named_by_the_control_group_and_forgotten_when_the_process_is_moved() {
        let id = "0123456789abcdef".repeat(4);
        let mut tree = Tree::default();
        let mut event = exec(7, 1, "/bin/sh")
            .with(Field::CgroupId, 5_u64)
            .with(Field::CgroupPath, format!("/system.slice/docker-{id}.scope").as_str());
        tree.enrich(&mut event);
        assert_eq!(event.text(Field::ContainerId).as_deref(), Some(id.as_str()));
        let file = |cgroup: u64| {
            Event::new(Kind::FileUnlink, Outcome::Done, Source::BpfLsm, 3)
                .with(Field::Pid, 7_u64)
                .with(Field::CgroupId, cgroup)
        };
        let (mut there, mut moved) = (file(5), file(6));
        tree.enrich(&mut there);
        tree.enrich(&mut moved);
        assert_eq!(there.text(Field::ContainerId).as_deref(), Some(id.as_str()));
        assert_eq!(moved.get(Field::ContainerId), None);
    }

    #[test]
    fn after_a_loss_ended_processes_are_forgotten_and_the_others_are_what_they_are_now() {
        let mut tree = Tree::default();
        tree.enrich(&mut exec(7, 1, "/bin/ended"));
        tree.enrich(&mut exec(8, 1, "/bin/before"));
        tree.learn_anew(exec(8, 1, "/bin/now"));
        tree.keep_only(&HashSet::from([8]));
        assert_eq!(tree.len(), 1);
        assert_eq!(tree.ancestry(8), ["/bin/now (8)"]);
    }

    #[test]
    fn a_million_ended_processes_do_not_stay_in_memory() {
        let mut tree = Tree::default();
        for pid in 1..20_000 {
            tree.enrich(&mut exec(pid, 0, "/bin/true"));
            let mut exit = Event::new(Kind::ProcessExit, Outcome::Done, Source::TpBtf, 2).with(Field::Pid, pid);
            tree.enrich(&mut exit);
        }
        assert!(tree.len() <= ENDED_MAX, "{} are known", tree.len());
    }
}
