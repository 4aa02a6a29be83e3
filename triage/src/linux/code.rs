//! The line `Code:` of a report: bytes on x86 (`48 89 <0f> 0b`), words on ARM (`f9400001 (f9400020)`), the instruction at the fault marked.
//! Of x86-64 and arm64 it is disassembled; what the operand's address was is computed from the registers that are printed.

use crate::machine::bytes::hex;
use crate::machine::code::Code;
use crate::machine::registers::Machine;
use crate::report::{Instruction, Report};

/// Bytes of a line, at most; kernels print 64.
const CODE_BYTES_MAX: usize = 256;
/// Where the code lies, where the report does not say.
const SOMEWHERE: u64 = 0x1000_0000;
/// Bytes of the instruction at the fault that are told where nothing can take it apart.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// Bytes around the fault.
struct Line {
    bytes: Vec<u8>,
    /// Where in these the instruction at the fault begins.
    fault: usize,
    /// Whether they were printed as words.
    is_words: bool,
}

/// Tells the code of the first line of it.
pub(super) fn fill(report: &mut Report, texts: &[&str]) {
    let Some(line) = texts.iter().find_map(|text| Line::parse(text)) else { return };
    let rest = line.bytes.get(line.fault..).unwrap_or_default();
    let Some(machine) = line.machine(report) else {
        let size = if line.is_words { 4 } else { INSTRUCTION_BYTES_MAX };
        let bytes = hex(rest.get(..size.min(rest.len())).unwrap_or_default());
        report.instruction = Some(Instruction { bytes, ..Instruction::default() });
        return;
    };
    let register = |name: &str| report.registers.get(name).map(|register| register.value.0);
    let known = register("rip").or_else(|| register("pc"));
    let ip = known.unwrap_or(SOMEWHERE);
    let start = ip.wrapping_sub(u64::try_from(line.fault).unwrap_or_default());
    let some = |address: u64, size: usize| {
        let at = usize::try_from(address.wrapping_sub(start)).ok();
        let bytes = at.and_then(|at| line.bytes.get(at..)).unwrap_or_default();
        bytes.get(..size.min(bytes.len())).unwrap_or_default().to_vec()
    };
    // Kernels of today print the place and not the address: code is told by the function at the fault then.
    let fault = report.frames.first().filter(|frame| frame.is_fault);
    let fault = fault.and_then(|frame| Some((frame.function.as_deref()?, frame.function_offset?.0)));
    let (function, offset) = fault.unwrap_or(("fault", 0));
    let place = |address: u64| {
        let offset = offset.wrapping_add(address.wrapping_sub(ip)).cast_signed();
        // What lies before a function is another's.
        let (sign, distance) = if offset < 0 { ('-', offset.unsigned_abs()) } else { ('+', offset.unsigned_abs()) };
        Some(format!("{function}{sign}{distance:#x}"))
    };
    let code = Code { is_located: known.is_some(), some: &some, place: &place, register: &register };
    let (mut listing, instruction) = (code.listing(ip, machine), code.instruction(ip, machine));
    if known.is_none() {
        listing.iter_mut().for_each(|line| line.address = None);
    }
    report.listing = listing;
    report.instruction = instruction;
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.trim_start().strip_prefix("Code: ")?;
        let (mut bytes, mut fault, mut width) = (Vec::new(), None, None);
        for word in rest.split_whitespace() {
            let digits = word.trim_matches(['<', '>', '(', ')']);
            let is_size = matches!(digits.len(), 2 | 8) && width.is_none_or(|width| width == digits.len());
            // The line may say why there is no code, or what follows is another's.
            let Some(number) = u32::from_str_radix(digits, 16).ok().filter(|_| is_size) else { break };
            if bytes.len() >= CODE_BYTES_MAX {
                break;
            }
            width = Some(digits.len());
            if digits.len() < word.len() {
                fault.get_or_insert(bytes.len());
            }
            let all = number.to_le_bytes();
            bytes.extend_from_slice(all.get(..digits.len() / 2).unwrap_or_default());
        }
        Some(Self { bytes, fault: fault?, is_words: width == Some(8) })
    }

    /// The machine, if its code can be taken apart: by the names of its registers.
    fn machine(&self, report: &Report) -> Option<Machine> {
        let has = |name: &str| report.registers.get(name).is_some();
        match self.is_words {
            true => has("x29").then_some(Machine::Arm64),
            false => (has("rax") || has("rsp")).then_some(Machine::X64),
        }
    }
}
