//! The tasks that were there: every process from the kernel's list, and the threads of each.

use std::collections::HashSet;

use super::btf::Types;
use super::kallsyms::Symbols;
use crate::machine::bytes::array_at;
use crate::machine::memory::Memory;
use crate::report::Task;

/// Tasks, at most.
const TASKS_MAX: usize = 1 << 16;
/// Longest name.
const NAME_BYTES: usize = 16;

/// A task as the kernel has it.
#[derive(Clone, Debug)]
pub(super) struct KernelTask {
    pub pid: u32,
    pub name: String,
    state: u64,
    pub cpu: Option<u32>,
    /// The saved stack pointer; of a task that runs it is an old one.
    pub sp: Option<u64>,
}

impl KernelTask {
    /// As a report shows it.
    pub(super) fn shown(&self) -> Task {
        Task { pid: u64::from(self.pid), name: self.name.clone(), state: state(self.state).to_owned(), cpu: self.cpu }
    }
}

/// A state in the words of the kernel's own letters.
fn state(bits: u64) -> &'static str {
    /// Waits for no signal but a deadly one, for no load average, and for nothing at all.
    const KILLABLE: u64 = 0x100;
    const NO_LOAD: u64 = 0x400;
    match bits & 0x7f {
        0 if bits == 0 => "running",
        1 => "sleeping",
        2 if bits & NO_LOAD != 0 => "idle",
        2 if bits & KILLABLE != 0 => "killable",
        2 => "blocked",
        4 => "stopped",
        8 => "traced",
        16 | 32 | 64 => "dead",
        _ => "other",
    }
}

/// Where a task's members are.
pub(super) struct Reader<'a> {
    memory: &'a Memory<'a>,
    types: &'a Types,
}

impl<'a> Reader<'a> {
    pub(super) fn new(memory: &'a Memory<'a>, types: &'a Types) -> Self {
        Self { memory, types }
    }

    /// The task at an address.
    pub(super) fn task(&self, address: u64) -> Option<KernelTask> {
        let place = |member: &str| self.types.offset("task_struct", member).map(|offset| address.wrapping_add(offset));
        let name = self.memory.all(place("comm")?, NAME_BYTES)?;
        let letters = name.iter().take_while(|letter| **letter != 0);
        let name =
            letters.map(|letter| if letter.is_ascii_graphic() || *letter == b' ' { char::from(*letter) } else { '?' });
        let state = place("__state").or_else(|| place("state")).and_then(|at| self.memory.u32_at(at));
        let cpu = place("thread_info.cpu").or_else(|| place("cpu"));
        Some(KernelTask {
            pid: self.memory.u32_at(place("pid")?)?,
            name: name.collect(),
            state: u64::from(state.unwrap_or(u32::MAX)),
            cpu: cpu.and_then(|at| self.memory.u32_at(at)),
            sp: place("thread.sp").and_then(|at| self.memory.u64_at(at)),
        })
    }

    /// All tasks, those that idle first. Says too whether the list is whole.
    pub(super) fn all(&self, symbols: &Symbols) -> Option<(Vec<KernelTask>, bool)> {
        let first = symbols.address("init_task")?;
        let mut seen = HashSet::from([first]);
        let mut found: Vec<KernelTask> = self.task(first).into_iter().collect();
        let leaders = self.ring(first.wrapping_add(self.types.offset("task_struct", "tasks")?), "tasks", &mut seen);
        let mut is_whole = leaders.1;
        for leader in leaders.0 {
            found.extend(self.task(leader));
            let (threads, all_threads) = self.threads(leader, &mut seen).unwrap_or((Vec::new(), false));
            found.extend(threads.into_iter().filter_map(|thread| self.task(thread)));
            is_whole &= all_threads;
        }
        Some((found, is_whole))
    }

    /// The threads of a process without its first, which is known.
    fn threads(&self, leader: u64, seen: &mut HashSet<u64>) -> Option<(Vec<u64>, bool)> {
        let signal = self.memory.u64_at(leader.wrapping_add(self.types.offset("task_struct", "signal")?))?;
        let head = signal.wrapping_add(self.types.offset("signal_struct", "thread_head")?);
        Some(self.ring(head, "thread_node", seen))
    }

    /// Tasks on a ring from its head on, as far as they were not seen. A ring that does not come back to its head is not whole.
    fn ring(&self, head: u64, member: &str, seen: &mut HashSet<u64>) -> (Vec<u64>, bool) {
        let Some(link) = self.types.offset("task_struct", member) else { return (Vec::new(), false) };
        let mut found = Vec::new();
        let mut passed = HashSet::new();
        let mut at = head;
        loop {
            let Some(next) = self.memory.u64_at(at) else { return (found, false) };
            if next == head {
                return (found, true);
            }
            if !passed.insert(next) || seen.len() >= TASKS_MAX {
                return (found, false);
            }
            let task = next.wrapping_sub(link);
            if seen.insert(task) {
                found.push(task);
            }
            at = next;
        }
    }

    /// The registers that a task that does not run left on its stack: where it goes on, its stack there, its frame pointer.
    pub(super) fn saved(&self, task: &KernelTask) -> Option<(u64, u64, u64)> {
        let sp = task.sp?;
        let size = self.types.size("inactive_task_frame")?;
        let frame = self.memory.all(sp, usize::try_from(size).ok()?)?;
        let word = |member: &str| {
            let at = self.types.offset("inactive_task_frame", member)?;
            array_at(&frame, usize::try_from(at).ok()?).map(u64::from_le_bytes)
        };
        Some((word("ret_addr")?, sp.wrapping_add(size), word("bp")?))
    }
}
