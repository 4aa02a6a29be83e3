//! The calls, from where a processor stopped or a task went to sleep, through exceptions, to the start of the stack. ORC tables tell
//! each caller; where they do not lead on, the rest of the stack is scanned for words behind a call, and each frame says which it is.

use std::collections::HashSet;

use super::kernel::Kernel;
use super::orc::{Base, Kind};
use super::registers::{Saved, BYTES};
use crate::machine::bytes::u64_at;
use crate::machine::code::{before, Before};
use crate::machine::registers::Machine;
use crate::report::{Frame, Hex, Trust};

/// Frames, at most.
const FRAMES_MAX: usize = 256;
/// Bytes of a stack, to which it is aligned too.
const STACK_BYTES: u64 = 16 << 10;

/// Where a walk begins.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub ip: u64,
    pub sp: u64,
    pub bp: u64,
    /// All registers, where they are known.
    pub registers: Option<Saved>,
}

/// A frame on the way.
#[derive(Clone, Debug)]
struct Step {
    ip: u64,
    sp: u64,
    trust: Trust,
    is_fault: bool,
    is_return: bool,
}

/// What a walk found.
#[derive(Default)]
pub(super) struct Walk {
    steps: Vec<Step>,
    /// The registers at the innermost exception in the kernel.
    pub fault: Option<Saved>,
    /// Whether there are more frames than were kept.
    pub is_cut: bool,
}

/// The processor's state between two frames.
struct State {
    ip: u64,
    sp: u64,
    bp: u64,
    registers: Option<Saved>,
    is_return: bool,
}

/// How one step ended.
enum Next {
    Frame,
    /// The stack begins here, or a program called.
    End,
    /// The tables do not lead on.
    Lost,
}

impl Walk {
    /// Walks a stack.
    pub(super) fn from(kernel: &Kernel<'_>, start: Start) -> Self {
        let mut walk = Self::default();
        let mut state =
            State { ip: start.ip, sp: start.sp, bp: start.bp, registers: start.registers, is_return: false };
        walk.push(&state, Trust::Context, false);
        let mut seen = HashSet::new();
        while !walk.is_cut && seen.insert((state.ip, state.sp)) {
            match walk.step(kernel, &mut state) {
                Some(Next::Frame) => {}
                Some(Next::End) => return walk,
                Some(Next::Lost) | None => {
                    walk.scan(kernel, state.sp);
                    return walk;
                }
            }
        }
        walk
    }

    fn push(&mut self, state: &State, trust: Trust, is_fault: bool) {
        if self.steps.len() >= FRAMES_MAX {
            self.is_cut = true;
            return;
        }
        self.steps.push(Step { ip: state.ip, sp: state.sp, trust, is_fault, is_return: state.is_return });
    }

    /// One frame up; `None` where memory is missing.
    fn step(&mut self, kernel: &Kernel<'_>, state: &mut State) -> Option<Next> {
        let word = |at: u64| kernel.memory.u64_at(at);
        // A call may be the last of its function: what it returns to is the next one's then.
        let address = if state.is_return { state.ip.wrapping_sub(1) } else { state.ip };
        let Some(entry) = kernel.unwind_entry(address) else { return Some(Next::Lost) };
        let register = |name: &str| state.registers.as_ref().map(|registers| registers.get(name));
        let from = match entry.sp {
            Base::Sp | Base::SpIndirect => state.sp,
            Base::Bp | Base::BpIndirect => state.bp,
            Base::R10 => register("r10")?,
            Base::R13 => register("r13")?,
            Base::Di => register("rdi")?,
            Base::Dx => register("rdx")?,
            Base::Undefined | Base::PreviousSp => {
                return Some(if entry.kind == Kind::End { Next::End } else { Next::Lost });
            }
        };
        let offset = i64::from(entry.sp_offset);
        let caller_sp = match entry.sp {
            Base::SpIndirect => word(from)?.wrapping_add_signed(offset),
            Base::BpIndirect => word(from.wrapping_add_signed(offset))?,
            _ => from.wrapping_add_signed(offset),
        };
        let mut next = State { ip: 0, sp: caller_sp, bp: state.bp, registers: None, is_return: false };
        match entry.kind {
            Kind::Call => {
                next.ip = word(caller_sp.wrapping_sub(8))?;
                next.is_return = true;
            }
            Kind::Registers => {
                let saved = Saved::parse(&kernel.memory.all(caller_sp, BYTES)?)?;
                if saved.is_user() {
                    return Some(Next::End);
                }
                (next.ip, next.sp, next.bp) = (saved.get("rip"), saved.get("rsp"), saved.get("rbp"));
                next.registers = Some(saved);
            }
            Kind::Partial => {
                // What the processor itself saves: rip, cs, flags, rsp, ss.
                if word(caller_sp.wrapping_add(8))? & 3 != 0 {
                    return Some(Next::End);
                }
                (next.ip, next.sp) = (word(caller_sp)?, word(caller_sp.wrapping_add(24))?);
            }
            Kind::End => return Some(Next::End),
            Kind::Undefined => return Some(Next::Lost),
        }
        let bp_offset = i64::from(entry.bp_offset);
        match entry.bp {
            Base::PreviousSp => next.bp = word(caller_sp.wrapping_add_signed(bp_offset))?,
            Base::Bp => next.bp = word(state.bp.wrapping_add_signed(bp_offset))?,
            _ => {}
        }
        if !kernel.is_code(next.ip) && self.steps.len() > 1 && next.registers.is_none() {
            return Some(Next::Lost);
        }
        let is_fault = next.registers.is_some() && self.fault.is_none();
        if is_fault {
            self.fault.clone_from(&next.registers);
        }
        let trust = if is_fault { Trust::Context } else { Trust::Unwind };
        *state = next;
        self.push(state, trust, is_fault);
        Some(Next::Frame)
    }

    /// Lists words up to the stack's end that are behind a call.
    fn scan(&mut self, kernel: &Kernel<'_>, from: u64) {
        let start = from & !7;
        let end = (start | STACK_BYTES.wrapping_sub(1)).saturating_add(1);
        let words = kernel.memory.some(start, usize::try_from(end.saturating_sub(start)).unwrap_or(0));
        let words = words.chunks_exact(8).filter_map(|word| u64_at(word, 0));
        for (word, at) in words.zip((start..).step_by(8)) {
            if kernel.is_code(word) && before(kernel.memory, word, Machine::X64) == Before::Call {
                let sp = at.saturating_add(8);
                let state = State { ip: word, sp, bp: 0, registers: None, is_return: true };
                self.push(&state, Trust::CallVerified, false);
            }
        }
    }

    /// As a report shows it. What the kernel calls once it has panicked says nothing of the fault, so the panic is the first frame.
    pub(super) fn frames(&self, kernel: &Kernel<'_>) -> Vec<Frame> {
        let shown = |(step, n): (&Step, u32)| {
            let within = if step.is_return { step.ip.wrapping_sub(1) } else { step.ip };
            let function = kernel.function(within);
            let back = step.ip.wrapping_sub(within);
            let module = kernel.module(within);
            Frame {
                n,
                ip: Some(Hex(step.ip)),
                sp: Some(Hex(step.sp)),
                module: module.map(|module| module.name.clone()),
                offset: module.map(|module| Hex(step.ip.wrapping_sub(module.base()))),
                function_offset: function.as_ref().map(|(_, offset)| Hex(offset.wrapping_add(back))),
                function: function.map(|(name, _)| name),
                trust: step.trust,
                is_fault: step.is_fault,
                ..Frame::default()
            }
        };
        let is_panic = |step: &Step| {
            let within = if step.is_return { step.ip.wrapping_sub(1) } else { step.ip };
            kernel.function(within).is_some_and(|(name, _)| name == "panic" || name == "vpanic")
        };
        let first = self.steps.iter().position(is_panic).unwrap_or(0);
        self.steps.iter().skip(first).zip(0_u32..).map(shown).collect()
    }
}
