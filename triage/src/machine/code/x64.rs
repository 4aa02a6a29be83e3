//! Code of x64. Forward it is plain; backward it has no one answer, because instructions have no fixed length. So every place in the
//! bytes before the fault is tried as a beginning, and where their paths do not agree the line says so.

use iced_x86::{
    Decoder, DecoderOptions, Formatter as _, Instruction, MasmFormatter, MemorySizeOptions, OpKind, Register,
    SymbolResolver, SymbolResult,
};

use super::{Code, LINES_BEFORE, LINES_FROM};
use crate::call;
use crate::machine::bytes::hex;
use crate::report::{self, Hex, Listed};

/// Bytes before the fault whose instructions vote on where lines begin.
const WINDOW_BYTES: usize = 96;
/// Longest instruction of x64.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// Lines before the fault and from it on.
pub(super) fn listing(code: &Code<'_>, address: u64) -> Vec<Listed> {
    let mut lines = lines_before(code, address);
    lines.extend(lines_from(code, address));
    lines
}

/// The instruction at an address, with its operand in memory.
pub(super) fn instruction(code: &Code<'_>, address: u64) -> Option<report::Instruction> {
    let bytes = (code.some)(address, INSTRUCTION_BYTES_MAX);
    let (decoded, own) = decode_at(&bytes, 0, address)?;
    Some(report::Instruction {
        bytes: hex(own),
        text: Some(text(&decoded, code.place)),
        operand: operand_text(&decoded, code),
    })
}

fn lines_from(code: &Code<'_>, address: u64) -> Vec<Listed> {
    let bytes = (code.some)(address, INSTRUCTION_BYTES_MAX.saturating_mul(LINES_FROM));
    let mut lines = Vec::new();
    let mut at = 0_usize;
    while lines.len() < LINES_FROM {
        let Some((instruction, own)) = decode_at(&bytes, at, address) else {
            break;
        };
        let mut line = shown(&instruction, own, code);
        line.is_fault = at == 0;
        lines.push(line);
        at = at.saturating_add(instruction.len());
    }
    lines
}

/// The paths through the bytes before the fault.
struct Paths {
    /// Where the instruction that begins here ends, if the path from here arrives at the fault.
    next: Vec<Option<usize>>,
    /// How many beginnings lead through here.
    votes: Vec<u32>,
}

impl Paths {
    fn of(bytes: &[u8], start: u64) -> Self {
        let end = bytes.len();
        let mut next = vec![None; end];
        for at in (0..end).rev() {
            let length = decode_at(bytes, at, start).map(|(instruction, _)| instruction.len());
            let to = length.and_then(|length| at.checked_add(length));
            let arrives = |to: &usize| *to == end || next.get(*to).copied().flatten().is_some();
            let to = to.filter(arrives);
            if let Some(slot) = next.get_mut(at) {
                *slot = to;
            }
        }
        let mut votes = vec![0_u32; end];
        for at in 0..end {
            let Some(to) = next.get(at).copied().flatten() else {
                continue;
            };
            let own = votes.get(at).copied().unwrap_or_default().saturating_add(1);
            for (slot, sum) in [(at, own), (to, votes.get(to).copied().unwrap_or_default().saturating_add(own))] {
                if let Some(slot) = votes.get_mut(slot) {
                    *slot = sum;
                }
            }
        }
        Self { next, votes }
    }

    fn votes(&self, at: usize) -> u32 {
        self.votes.get(at).copied().unwrap_or_default()
    }

    /// The beginnings of instructions before the end, the last first, by the most votes.
    fn back(&self, lines_max: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut to = self.next.len();
        while chain.len() < lines_max {
            let begins = |at: &usize| self.next.get(*at).copied().flatten() == Some(to);
            let Some(at) =
                (to.saturating_sub(INSTRUCTION_BYTES_MAX)..to).filter(begins).max_by_key(|at| self.votes(*at))
            else {
                break;
            };
            chain.push(at);
            to = at;
        }
        chain
    }

    /// Whether other paths step over this beginning often enough to doubt it, or none but its own leads to it.
    fn is_doubtful(&self, at: usize) -> bool {
        /// How many times as many paths must lead here as step over it.
        const MAJORITY: u32 = 2;
        let own = self.votes(at);
        let over = |from: &usize| self.next.get(*from).copied().flatten().is_some_and(|to| to > at);
        let across = (at.saturating_sub(INSTRUCTION_BYTES_MAX)..at).filter(over).map(|from| self.votes(from));
        own < 2 || own < across.sum::<u32>().saturating_mul(MAJORITY)
    }
}

fn lines_before(code: &Code<'_>, address: u64) -> Vec<Listed> {
    let bytes = call::bytes_before(&|address, size| code.all(address, size), address, WINDOW_BYTES);
    let start = address.saturating_sub(u64::try_from(bytes.len()).unwrap_or_default());
    let paths = Paths::of(&bytes, start);
    let chain = paths.back(LINES_BEFORE);
    let place = |at: usize| start.saturating_add(u64::try_from(at).unwrap_or_default());
    let is_begin = |target: u64| target == address || chain.iter().any(|at| place(*at) == target);
    let line = |at: &usize| {
        let (instruction, own) = decode_at(&bytes, *at, start)?;
        let mut line = shown(&instruction, own, code);
        // A branch to where another line begins is hardly chance.
        let is_confirmed = instruction.is_jcc_short_or_near() && is_begin(instruction.near_branch_target());
        line.ambiguous = paths.is_doubtful(*at) && !is_confirmed;
        Some(line)
    };
    chain.iter().rev().filter_map(line).collect()
}

/// The instruction at an index of bytes that begin at `start`, with its bytes.
fn decode_at(bytes: &[u8], at: usize, start: u64) -> Option<(Instruction, &[u8])> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    let address = start.checked_add(u64::try_from(at).ok()?)?;
    let instruction = Decoder::with_ip(64, rest, address, DecoderOptions::NONE).decode();
    let code = rest.get(..instruction.len())?;
    (!instruction.is_invalid()).then_some((instruction, code))
}

fn shown(instruction: &Instruction, own: &[u8], code: &Code<'_>) -> Listed {
    let address = instruction.ip();
    Listed {
        address: Some(Hex(address)),
        place: (code.place)(address),
        bytes: hex(own),
        text: text(instruction, code.place),
        is_fault: false,
        ambiguous: false,
    }
}

/// Names addresses in code by their place.
struct Places(Vec<(u64, String)>);

impl SymbolResolver for Places {
    fn symbol(
        &mut self,
        _instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let (_, place) = self.0.iter().find(|(target, _)| *target == address)?;
        Some(SymbolResult::with_str(address, place))
    }
}

/// An instruction in the words of a debugger.
fn text(instruction: &Instruction, place: &dyn Fn(u64) -> Option<String>) -> String {
    let mut targets = Vec::new();
    if matches!(instruction.op0_kind(), OpKind::NearBranch64) {
        targets.push(instruction.near_branch_target());
    }
    if instruction.is_ip_rel_memory_operand() {
        targets.push(instruction.ip_rel_memory_address());
    }
    let places = targets.iter().filter_map(|target| Some((*target, place(*target)?))).collect();
    let mut formatter = MasmFormatter::with_options(Some(Box::new(Places(places))), None);
    let options = formatter.options_mut();
    options.set_first_operand_char_index(8);
    options.set_show_branch_size(false);
    options.set_rip_relative_addresses(false);
    options.set_memory_size_options(MemorySizeOptions::Always);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

/// Where the instruction's operand in memory lies, and its size in bytes; `None` if it has none or a register is not known.
fn operand(instruction: &Instruction, register: &dyn Fn(&str) -> Option<u64>) -> Option<(u64, usize)> {
    let is_memory = |kind: OpKind| matches!(kind, OpKind::Memory);
    let at = (0..instruction.op_count()).find(|at| is_memory(instruction.op_kind(*at)))?;
    if matches!(instruction.memory_segment(), Register::FS | Register::GS) {
        return None;
    }
    let address = instruction.virtual_address(at, 0, |one, _, _| match one {
        Register::ES | Register::CS | Register::SS | Register::DS => Some(0),
        _ => {
            let value = register(&format!("{:?}", one.full_register()).to_ascii_lowercase())?;
            // A 32-bit base is the lower half of its register.
            Some(if one.size() == 4 { value & 0xffff_ffff } else { value })
        }
    })?;
    Some((address, instruction.memory_size().size()))
}

/// The operand as a debugger prints it: `ds:ffff8405`00000074=????????`.
fn operand_text(instruction: &Instruction, code: &Code<'_>) -> Option<String> {
    if instruction.is_ip_rel_memory_operand() && !code.is_located {
        return None;
    }
    let (address, size) = operand(instruction, code.register)?;
    let segment = format!("{:?}", instruction.memory_segment()).to_ascii_lowercase();
    Some(format!("{segment}:{:08x}`{:08x}={}", address >> 32, address & 0xffff_ffff, code.value(address, size)))
}
