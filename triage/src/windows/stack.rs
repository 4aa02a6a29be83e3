//! The stack, from where the machine stopped, through the fault, to the thread's start.
//!
//! Where the images' tables are in the dump it is unwound. Where they are not, every word of the stack that points into a module
//! is looked at: bytes before it that are a call make it a frame that can be counted by; bytes that are not in the dump make it
//! one that may be stale; bytes that are no call make it none. Each frame says which of these it is.

use std::collections::HashSet;

use super::dump::Dump;
use super::fault::{stack_bounds, Fault};
use super::unwind::{self, Registers};
use crate::machine::code::{before, Before};
use crate::machine::registers::{Cpu, Machine};
use crate::report::{Frame, Hex, StackWord, Trust};

/// Most frames of a report.
const FRAMES_MAX: usize = 256;
/// Words shown beside a frame.
const WORDS: u64 = 4;

/// A frame on the way.
#[derive(Clone, Debug)]
struct Step {
    ip: u64,
    sp: u64,
    trust: Trust,
    is_fault: bool,
    /// Whether `ip` is a return address and not an instruction that was about to run.
    is_return: bool,
    registers: Option<Registers>,
}

/// The walk.
struct Walk<'a> {
    dump: &'a Dump<'a>,
    fault: &'a Fault,
    steps: Vec<Step>,
    /// The saved stack from where the walk began, and where that is.
    words: Vec<u8>,
    low: u64,
    /// Where the fault's own frame stands: words from here on belong to it. `None` once it is passed.
    fault_at: Option<u64>,
    /// Registers that unwinding found for the fault, which its trap frame does not hold.
    recovered: Vec<(&'static str, u64)>,
    is_cut: bool,
}

/// What a walk found.
pub(super) struct Stack {
    pub frames: Vec<Frame>,
    pub recovered: Vec<(&'static str, u64)>,
    pub warnings: Vec<String>,
}

/// Walks the stack.
pub(super) fn walk(dump: &Dump<'_>, fault: &Fault) -> Stack {
    let nothing = Stack { frames: Vec::new(), recovered: Vec::new(), warnings: Vec::new() };
    let Some((start, is_fault)) = beginning(dump, fault) else {
        return nothing;
    };
    let (low, high) = stack_bounds(dump, start.sp);
    let size = usize::try_from(high.saturating_sub(low)).unwrap_or(0);
    let words = dump.memory.some(low, size);
    let fault_at = match (&fault.cpu, fault.trap_frame_at) {
        _ if is_fault => None,
        (Some(_), Some(frame)) => Some(frame),
        (Some(cpu), None) => Some(cpu.sp),
        (None, _) => None,
    };
    let mut walk = Walk { dump, fault, steps: Vec::new(), words, low, fault_at, recovered: Vec::new(), is_cut: false };
    walk.push(start.ip, start.sp, Trust::Context, is_fault, false, Some(Registers::of(start)));
    match start.machine {
        Machine::X64 => walk.go(),
        Machine::Arm64 => walk.go_by_frame_pointer(start),
    }
    walk.finish()
}

/// Where to begin: at the stop, if the fault lies above it on the same stack, or else at the fault itself.
fn beginning<'a>(dump: &'a Dump<'_>, fault: &'a Fault) -> Option<(&'a Cpu, bool)> {
    match (&dump.stop, &fault.cpu) {
        (Some(stop), Some(cpu)) if (stop.ip, stop.sp) == (cpu.ip, cpu.sp) => Some((cpu, true)),
        (Some(stop), Some(cpu)) => {
            let (low, high) = stack_bounds(dump, stop.sp);
            let stop = (low..high).contains(&cpu.sp).then_some((stop, false));
            stop.or(Some((cpu, true)))
        }
        (Some(stop), None) => Some((stop, fault.ip == Some(stop.ip))),
        (None, cpu) => cpu.as_ref().map(|cpu| (cpu, true)),
    }
}

impl Walk<'_> {
    fn push(&mut self, ip: u64, sp: u64, trust: Trust, is_fault: bool, is_return: bool, registers: Option<Registers>) {
        if self.steps.len() >= FRAMES_MAX {
            self.is_cut = true;
            return;
        }
        self.steps.push(Step { ip, sp, trust, is_fault, is_return, registers });
    }

    /// Unwinds as long as that leads somewhere, else scans to the next frame that it can start from again.
    fn go(&mut self) {
        while !self.is_cut {
            let Some(last) = self.steps.last().cloned() else { return };
            match self.unwound(&last) {
                Some(true) => return,
                Some(false) => {}
                None => {
                    if !self.scan(last.sp) {
                        return;
                    }
                }
            }
        }
    }

    /// One frame up by the tables: `Some(true)` at the thread's start, `None` if the tables do not lead to a frame.
    fn unwound(&mut self, last: &Step) -> Option<bool> {
        if last.trust == Trust::Scan {
            return None;
        }
        let (module, _) = self.dump.modules.find(last.ip)?;
        let registers = last.registers.clone().unwrap_or_else(|| Registers::at(last.sp));
        let caller = unwind::caller(&self.dump.memory, module, last.ip, last.is_return, registers)?;
        let sp = caller.registers.sp()?;
        let fault = self.fault.cpu.as_ref().filter(|_| self.fault_at.is_some());
        if let Some(cpu) = fault.filter(|cpu| (cpu.ip, cpu.sp) == (caller.ip, sp)) {
            if last.trust != Trust::CallVerified {
                self.recovered = caller.registers.kept().collect();
            }
            self.fault_at = None;
            self.push(cpu.ip, cpu.sp, Trust::Context, true, false, Some(caller.registers));
            return Some(false);
        }
        // Upward only, and never past the fault without meeting it.
        if sp <= last.sp || self.fault_at.is_some_and(|at| sp > at) {
            return None;
        }
        if caller.ip == 0 {
            return Some(true);
        }
        self.dump.modules.find(caller.ip)?;
        let calls = before(&self.dump.memory, caller.ip, Machine::X64);
        let is_sure = last.trust != Trust::CallVerified;
        let trust = match (caller.is_machine_frame, calls) {
            (true, _) if is_sure => Trust::Unwind,
            (false, Before::Call | Before::Absent) if is_sure => Trust::Unwind,
            (false, Before::Call) => Trust::CallVerified,
            _ => return None,
        };
        self.push(caller.ip, sp, trust, false, !caller.is_machine_frame, Some(caller.registers));
        Some(false)
    }

    /// Lists words from `from` on, up to one that is verified or to the fault; says whether there is more to do.
    fn scan(&mut self, from: u64) -> bool {
        let Some(mut at) = from.checked_next_multiple_of(8) else { return self.end_of_stack() };
        while !self.is_cut {
            if let (Some(fault_at), Some(cpu)) = (self.fault_at, &self.fault.cpu) {
                if at >= fault_at {
                    self.fault_at = None;
                    self.push(cpu.ip, cpu.sp, Trust::Context, true, false, Some(Registers::of(cpu)));
                    return true;
                }
            }
            let Some(word) = self.word(at) else {
                return self.end_of_stack();
            };
            at = at.saturating_add(8);
            let Some((_, offset)) = self.dump.modules.find(word) else {
                continue;
            };
            // Nothing can be called before an image's first byte.
            if offset == 0 {
                continue;
            }
            match before(&self.dump.memory, word, Machine::X64) {
                Before::NoCall => {}
                Before::Absent => self.push(word, at, Trust::Scan, false, true, None),
                Before::Call => {
                    self.push(word, at, Trust::CallVerified, false, true, None);
                    return true;
                }
            }
        }
        false
    }

    /// The saved stack ends; a fault that was not met yet is still told.
    fn end_of_stack(&mut self) -> bool {
        if let (Some(_), Some(cpu)) = (self.fault_at.take(), &self.fault.cpu) {
            self.push(cpu.ip, cpu.sp, Trust::Context, true, false, Some(Registers::of(cpu)));
            return true;
        }
        false
    }

    /// A word of the stack.
    fn word(&self, at: u64) -> Option<u64> {
        let offset = usize::try_from(at.checked_sub(self.low)?).ok()?;
        crate::machine::bytes::u64_at(&self.words, offset).or_else(|| {
            // The fault may lie on another stack than the one that was read.
            (offset > self.words.len()).then(|| self.dump.memory.u64_at(at)).flatten()
        })
    }

    /// ARM64 keeps a chain of frame records: the caller's frame pointer, then the address to return to.
    fn go_by_frame_pointer(&mut self, start: &Cpu) {
        let mut fp = start.valid("fp").unwrap_or_default();
        let mut seen = HashSet::new();
        if let Some(link) = start.valid("lr") {
            let first = self.dump.memory.u64_at(fp.wrapping_add(8)).map(unsigned);
            if first != Some(unsigned(link)) {
                self.push_linked(unsigned(link), start.sp);
            }
        }
        while !self.is_cut && seen.insert(fp) {
            let (Some(next), Some(link)) = (self.dump.memory.u64_at(fp), self.dump.memory.u64_at(fp.wrapping_add(8)))
            else {
                return;
            };
            if link == 0 {
                return;
            }
            self.push_linked(unsigned(link), fp.wrapping_add(16));
            if let (Some(_), Some(cpu)) = (self.fault_at.filter(|at| next >= *at), &self.fault.cpu) {
                self.fault_at = None;
                self.push(cpu.ip, cpu.sp, Trust::Context, true, false, None);
            }
            if next <= fp {
                return;
            }
            fp = next;
        }
    }

    fn push_linked(&mut self, ip: u64, sp: u64) {
        if self.dump.modules.find(ip).is_none() {
            return;
        }
        match before(&self.dump.memory, ip, Machine::Arm64) {
            Before::Call => self.push(ip, sp, Trust::CallVerified, false, true, None),
            Before::Absent => self.push(ip, sp, Trust::Scan, false, true, None),
            Before::NoCall => {}
        }
    }

    fn finish(self) -> Stack {
        let mut frames = Vec::with_capacity(self.steps.len());
        let callers = self.steps.iter().skip(1).map(Some).chain([None]);
        for ((step, caller), n) in self.steps.iter().zip(callers).zip(0_u32..) {
            let found = self.dump.modules.find(step.ip);
            frames.push(Frame {
                n,
                ip: Some(Hex(step.ip)),
                sp: Some(Hex(step.sp)),
                return_address: caller.map(|caller| Hex(caller.ip)),
                words: caller.map(|caller| self.words_at(caller.sp)).unwrap_or_default(),
                module: found.map(|(module, _)| module.name().to_owned()),
                offset: found.map(|(_, offset)| Hex(offset)),
                trust: step.trust,
                is_fault: step.is_fault,
                ..Frame::default()
            });
        }
        let mut warnings = Vec::new();
        if self.is_cut {
            warnings.push(format!("the stack has more than {FRAMES_MAX} frames; the rest is left out"));
        }
        if frames.iter().any(|frame| frame.trust == Trust::Scan) {
            let text = "frames marked scan are words whose code is not in this dump: they may be stale";
            warnings.push(text.to_owned());
        }
        Stack { frames, recovered: self.recovered, warnings }
    }

    /// The words beside a frame: where its arguments would have been put.
    fn words_at(&self, sp: u64) -> Vec<StackWord> {
        let places = (0..WORDS).map(|number| sp.wrapping_add(number.wrapping_mul(8)));
        let words = places.map_while(|at| self.dump.memory.u64_at(at));
        words.map(|word| StackWord { value: Hex(word), in_module: self.dump.modules.find(word).is_some() }).collect()
    }
}

/// A kernel address without the signature that ARM64 may keep in its upper bits.
fn unsigned(address: u64) -> u64 {
    const SIGNATURE: u64 = 0xffff_0000_0000_0000;
    if address >> 47 & 1 == 1 {
        address | SIGNATURE
    } else {
        address & !SIGNATURE
    }
}
