//! The fault behind a stop. The header's own exception record is most often the breakpoint of the function that stops the
//! machine; the true one is reached through the stop code's parameters, through a trap frame, or by looking for one on the stack.

use super::bugcheck::{self, Meaning};
use super::context::{is_trap_frame, CONTEXT_BYTES, TRAP_FRAME_BYTES};
use super::dump::Dump;
use super::header::ExceptionRecord;
use crate::machine::bytes::u64_at;
use crate::machine::registers::{Cpu, Machine};
use crate::report::Operation;

/// STATUS_ACCESS_VIOLATION.
pub(super) const ACCESS_VIOLATION: u32 = 0xc000_0005;
/// STATUS_IN_PAGE_ERROR, whose first two parameters are those of an access violation.
const IN_PAGE_ERROR: u32 = 0xc000_0006;
/// STATUS_BREAKPOINT: what a header holds when the kernel stopped itself.
const BREAKPOINT: u32 = 0x8000_0003;
/// Bytes of the stack that are looked through for a trap frame.
pub(super) const STACK_BYTES_MAX: usize = 512 << 10;
/// Where a trap frame holds the address of a page fault, the instruction and the stack pointer.
const TRAP_FAULT_ADDRESS: usize = 0xd0;
const TRAP_IP: usize = 0x168;
const TRAP_SP: usize = 0x180;

/// What faulted.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub exception: Option<ExceptionRecord>,
    pub record_at: Option<u64>,
    pub context_at: Option<u64>,
    pub trap_frame_at: Option<u64>,
    /// The registers at the fault.
    pub cpu: Option<Cpu>,
    /// The instruction.
    pub ip: Option<u64>,
    pub access: Option<(Operation, u64)>,
    pub irql: Option<u64>,
    pub mm_code: Option<u64>,
}

impl Fault {
    /// Finds the fault, by what the stop code's parameters mean.
    pub(super) fn find(dump: &mut Dump<'_>) -> Self {
        let [p1, p2, p3, p4] = dump.header.parameters;
        let (_, meaning) = bugcheck::known(dump.header.bugcheck);
        let mut fault = Self::default();
        match meaning {
            Meaning::CodeIpRecordContext => {
                fault.code_at(p1, p2);
                (fault.record_at, fault.context_at) = (Some(p3), Some(p4));
            }
            Meaning::CodeIpContext => {
                fault.code_at(p1, p2);
                fault.context_at = Some(p3);
            }
            Meaning::CodeIpTrapFrame => {
                fault.code_at(p1, p2);
                fault.trap_frame_at = Some(p3);
            }
            Meaning::CodeIpParameters => {
                fault.code_at(p1, p2);
                if let Some(exception) = &mut fault.exception {
                    exception.parameters = vec![p3, p4];
                }
            }
            Meaning::AddressOperationIp => {
                fault.access = Some((bugcheck::operation(p2), p1));
                (fault.ip, fault.mm_code) = (Some(p3), Some(p4));
            }
            Meaning::AddressIrqlOperationIp => {
                fault.access = Some((bugcheck::operation(p3), p1));
                (fault.ip, fault.irql) = (Some(p4), Some(p2));
            }
            Meaning::SubtypeTrapFrameRecord => (fault.trap_frame_at, fault.record_at) = (Some(p2), Some(p3)),
            Meaning::WrittenAddress => (fault.access, fault.trap_frame_at) = (Some((Operation::Write, p1)), Some(p3)),
            Meaning::ExecutedAddress => {
                (fault.access, fault.trap_frame_at) = (Some((Operation::Execute, p1)), Some(p3));
                fault.ip = Some(p1);
            }
            Meaning::Trap | Meaning::Other => {}
        }
        // The page fault handler gives the trap frame itself as the third parameter, before the kernel puts the instruction there.
        fault.ip = fault.ip.filter(|ip| *ip != 0);
        fault.read_record(dump);
        fault.read_registers(dump);
        fault.settle(dump, meaning);
        fault
    }

    fn code_at(&mut self, code: u64, ip: u64) {
        // A status is 32 bits; a parameter is it with its sign.
        let code = u32::try_from(code & 0xffff_ffff).unwrap_or_default();
        self.exception = Some(ExceptionRecord { code, address: ip, parameters: Vec::new() });
        self.ip = Some(ip);
    }

    /// The record that a parameter points at, or else the header's, if it is not the stop itself.
    fn read_record(&mut self, dump: &mut Dump<'_>) {
        if let Some(at) = self.record_at.filter(|at| *at != 0) {
            let bytes = dump.memory.some(at, ExceptionRecord::BYTES);
            match ExceptionRecord::read(&bytes) {
                Some(record) => {
                    self.exception = Some(record);
                    return;
                }
                None => dump.warnings.push(format!("the exception record at {at:#x} is not in the dump or damaged")),
            }
        }
        let header = dump.header.exception.clone().filter(|record| record.code != BREAKPOINT);
        let is_same = |record: &ExceptionRecord| self.ip.is_none_or(|ip| ip == record.address);
        if let Some(record) = header.filter(is_same) {
            if self.exception.as_ref().is_none_or(|own| own.parameters.is_empty()) {
                self.exception = Some(record);
            }
        }
        self.record_at = None;
    }

    /// The registers at the fault: a CONTEXT that is named, a trap frame that is named or found, or the stop's own.
    fn read_registers(&mut self, dump: &mut Dump<'_>) {
        let machine = dump.header.machine;
        self.ip = self.ip.or_else(|| Some(self.exception.as_ref()?.address).filter(|ip| *ip != 0));
        if let Some(at) = self.context_at.filter(|at| *at != 0) {
            let bytes = dump.memory.some(at, CONTEXT_BYTES);
            self.cpu = Cpu::of_context(machine, &bytes);
            if self.cpu.is_some() {
                return;
            }
            dump.warnings.push(format!("the CONTEXT at {at:#x} is not in the dump or damaged"));
        }
        self.context_at = None;
        if dump.stop.as_ref().is_some_and(|stop| Some(stop.ip) == self.ip) {
            self.cpu.clone_from(&dump.stop);
            self.trap_frame_at = None;
            return;
        }
        self.trap_frame_at = self.trap_frame(dump);
        if let Some(at) = self.trap_frame_at {
            self.cpu = trap_frame_bytes(dump, at).and_then(|bytes| Cpu::of_trap_frame(&bytes));
        }
    }

    /// A trap frame: the one that a parameter names, the one that the stop function was called with, or one on the stack.
    fn trap_frame(&self, dump: &Dump<'_>) -> Option<u64> {
        if dump.header.machine != Machine::X64 {
            return None;
        }
        let stop = dump.stop.as_ref();
        let (low, high) = stack_bounds(dump, stop.map(|stop| stop.sp)?);
        let is_stack = |sp: u64| (low..=high).contains(&sp);
        // One that is named only has to fit; one that is found has to look like one in every way.
        let is_one = |at: u64| {
            let bytes = trap_frame_bytes(dump, at).unwrap_or_default();
            let word = |at| u64_at(&bytes, at);
            let is_here = self.ip.is_some() && word(TRAP_IP) == self.ip && word(TRAP_SP).is_some_and(is_stack);
            (is_here || is_trap_frame(&bytes, self.ip, is_stack)) && self.fits(&bytes)
        };
        let argument = stop.and_then(|stop| stop.value("r9"));
        let home = stop.and_then(|stop| dump.memory.u64_at(stop.sp.checked_add(0x20)?));
        let named = [self.trap_frame_at, argument, home].into_iter().flatten().find(|at| *at != 0 && is_one(*at));
        named.or_else(|| self.scan_for_trap_frame(dump, low, &is_stack))
    }

    /// Looks for a trap frame in the saved stack. Without the instruction's address anything could look like one.
    fn scan_for_trap_frame(&self, dump: &Dump<'_>, low: u64, is_stack: &dyn Fn(u64) -> bool) -> Option<u64> {
        self.ip?;
        let size = usize::try_from(TRAP_FRAME_BYTES).ok()?;
        let stack = dump.memory.some(low, STACK_BYTES_MAX);
        let places = (0..stack.len().saturating_sub(size)).step_by(8);
        let found = places.filter(|at| {
            let frame = stack.get(*at..at.saturating_add(size)).unwrap_or_default();
            is_trap_frame(frame, self.ip, is_stack) && self.fits(frame)
        });
        found.map(|at| low.saturating_add(u64::try_from(at).unwrap_or_default())).next()
    }

    /// Whether a trap frame holds the address of the fault, where that is known.
    fn fits(&self, frame: &[u8]) -> bool {
        let noted = u64_at(frame, TRAP_FAULT_ADDRESS).unwrap_or_default();
        self.access.is_none_or(|(_, address)| noted == 0 || noted == address)
    }

    /// What follows from the parts: the instruction, the access.
    fn settle(&mut self, dump: &Dump<'_>, meaning: Meaning) {
        let of_cpu = self.cpu.as_ref().map(|cpu| cpu.ip);
        let of_record = self.exception.as_ref().map(|record| record.address).filter(|ip| *ip != 0);
        self.ip = self.ip.or(of_record).or(of_cpu);
        if let Some(record) =
            self.exception.as_ref().filter(|record| matches!(record.code, ACCESS_VIOLATION | IN_PAGE_ERROR))
        {
            if let [number, address, ..] = record.parameters.as_slice() {
                let operation = match number {
                    0 => Operation::Read,
                    8 => Operation::Execute,
                    _ => Operation::Write,
                };
                self.access = self.access.or(Some((operation, *address)));
            }
        }
        if meaning == Meaning::Trap && self.cpu.is_none() {
            self.cpu.clone_from(&dump.stop);
            self.ip = self.ip.or_else(|| self.cpu.as_ref().map(|cpu| cpu.ip));
        }
    }

    /// Whether the processor refused the access without telling its address.
    pub(super) fn is_general_protection(&self) -> bool {
        self.exception.as_ref().is_some_and(|record| record.code == ACCESS_VIOLATION)
            && matches!(self.access, Some((_, u64::MAX)))
    }
}

/// The bytes of a trap frame.
fn trap_frame_bytes(dump: &Dump<'_>, at: u64) -> Option<Vec<u8>> {
    dump.memory.all(at, usize::try_from(TRAP_FRAME_BYTES).ok()?)
}

/// The part of the stack from `sp` on: up to the thread's own end where it is known.
pub(super) fn stack_bounds(dump: &Dump<'_>, sp: u64) -> (u64, u64) {
    let size = u64::try_from(STACK_BYTES_MAX).unwrap_or(u64::MAX);
    let beyond = sp.saturating_add(size);
    let high = dump.running.stack.filter(|(low, high)| (*low..*high).contains(&sp)).map_or(beyond, |(_, high)| high);
    (sp, high.min(beyond))
}
