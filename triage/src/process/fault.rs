//! What the instruction at the fault wanted, of which address.

use iced_x86::{
    Decoder, DecoderOptions, Formatter as _, Instruction, InstructionInfoFactory, MasmFormatter, OpAccess, Register,
};

use super::Crash;
use crate::call::Isa;
use crate::machine::bytes::hex;
use crate::machine::code::{arm64, Code};
use crate::machine::registers::Machine;
use crate::report::{Access, Hex, Listed, Operation};

/// Longest instruction of x86.
const INSTRUCTION_BYTES_MAX: usize = 15;
/// Instructions that are listed from the fault on.
const LINES_MAX: usize = 8;
/// The lowest addresses are never mapped: a null pointer with a member's offset.
const NULL_PAGE_END: u64 = 0x1_0000;
/// So near to the stack pointer an address that is not there is the stack's end.
const STACK_GUARD_BYTES: u64 = 0x1_0000;
/// Where the kernel's half of a 64-bit address space begins, and where user space ends.
const USER_END: u64 = 0x0000_8000_0000_0000;
const KERNEL_START: u64 = 0xffff_8000_0000_0000;

/// The fault.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub instruction: Option<crate::report::Instruction>,
    pub listing: Vec<Listed>,
    pub access: Option<Access>,
}

/// Finds it.
pub(super) fn find(crash: &mut Crash<'_>) -> Fault {
    let (Some(ip), Some(isa)) = (crash.instruction_pointer(), crash.isa()) else {
        return Fault { access: access(crash, None, None), ..Fault::default() };
    };
    let bytes = crash.memory.some(ip, INSTRUCTION_BYTES_MAX.saturating_mul(LINES_MAX));
    let Some(bits) = isa.x86_bits() else { return find_arm64(crash, ip) };
    let lines = lines(crash, &bytes, ip, bits);
    let first = Decoder::with_ip(bits, &bytes, ip, DecoderOptions::NONE).iter().next();
    let Some(instruction) = first.filter(|instruction| !instruction.is_invalid()) else {
        return Fault { access: access(crash, None, None), ..Fault::default() };
    };
    let touched = touched(crash, &instruction);
    let hit = touched.iter().find(|touched| crash.access.is_some_and(|address| touched.holds(address)));
    let hit = hit.or_else(|| touched.first());
    let shown = lines.first().map(|line| crate::report::Instruction {
        bytes: line.bytes.clone(),
        text: Some(line.text.clone()),
        operand: hit.map(|hit| hit.shown(crash)),
    });
    Fault { instruction: shown, access: access(crash, hit.map(|hit| hit.operation), hit.copied()), listing: lines }
}

/// The same on ARM64, whose instructions are words.
fn find_arm64(crash: &mut Crash<'_>, ip: u64) -> Fault {
    let place = |address: u64| crash.place(address).map(|(module, offset)| format!("{module}+{offset:#x}"));
    let some = |address, size| crash.memory.some(address, size);
    let register = |name: &str| crash.register(name);
    let code = Code { is_located: true, some: &some, place: &place, register: &register };
    let (listing, shown) = (code.listing(ip, Machine::Arm64), code.instruction(ip, Machine::Arm64));
    let word = crash.memory.all(ip, 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let touched = word.and_then(|word| arm64::touched(word, Some(ip), &register));
    let hit = touched.map(|arm64::Touched { address, size, operation }| Touched { address, size, operation });
    let shown = shown.map(|shown| crate::report::Instruction { operand: hit.map(|hit| hit.shown(crash)), ..shown });
    let wanted = hit.map(|hit| hit.operation).or_else(|| word.and_then(arm64::operation));
    Fault { instruction: shown, access: access(crash, wanted, hit), listing }
}

/// Memory that an instruction uses.
#[derive(Clone, Copy, Debug)]
struct Touched {
    address: u64,
    size: usize,
    operation: Operation,
}

impl Touched {
    fn holds(&self, address: u64) -> bool {
        let size = u64::try_from(self.size).unwrap_or(1).max(1);
        address.wrapping_sub(self.address) < size
    }

    /// The operand as a debugger prints it.
    fn shown(&self, crash: &Crash<'_>) -> String {
        let size = self.size.clamp(1, 8);
        let value = crash.memory.all(self.address, size).map(|mut bytes| {
            bytes.reverse();
            hex(&bytes)
        });
        format!("{:#x}={}", self.address, value.unwrap_or_else(|| "??".repeat(size)))
    }
}

/// The memory that an instruction uses, as far as its registers are known.
fn touched(crash: &Crash<'_>, instruction: &Instruction) -> Vec<Touched> {
    let mut infos = InstructionInfoFactory::new();
    let used = infos.info(instruction).used_memory().iter().filter_map(|used| {
        let address = used.virtual_address(0, |register, _, _| value(crash, register))?;
        let operation = match used.access() {
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => Operation::Write,
            _ => Operation::Read,
        };
        (used.access() != OpAccess::NoMemAccess).then_some(Touched {
            address,
            size: used.memory_size().size(),
            operation,
        })
    });
    used.collect()
}

/// A register's value; segments begin at 0, but for those that no dump holds.
fn value(crash: &Crash<'_>, register: Register) -> Option<u64> {
    match register {
        Register::ES | Register::CS | Register::SS | Register::DS => return Some(0),
        Register::FS | Register::GS => return None,
        _ => {}
    }
    let wide = if crash.isa() == Some(Isa::X64) { register.full_register() } else { register.full_register32() };
    let value = crash.register(&format!("{wide:?}").to_ascii_lowercase())?;
    Some(match register.size() {
        1 => value & 0xff,
        2 => value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    })
}

/// The code from the fault on.
fn lines(crash: &Crash<'_>, bytes: &[u8], ip: u64, bits: u32) -> Vec<Listed> {
    let mut formatter = MasmFormatter::new();
    formatter.options_mut().set_rip_relative_addresses(false);
    formatter.options_mut().set_first_operand_char_index(8);
    let mut decoder = Decoder::with_ip(bits, bytes, ip, DecoderOptions::NONE);
    let mut lines = Vec::new();
    while lines.len() < LINES_MAX && decoder.can_decode() {
        let at = decoder.position();
        let instruction = decoder.decode();
        let Some(code) = bytes.get(at..decoder.position()).filter(|_| !instruction.is_invalid()) else { break };
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let address = instruction.ip();
        let place = crash.place(address).map(|(module, offset)| format!("{module}+{offset:#x}"));
        let line = Listed { address: Some(Hex(address)), place, bytes: hex(code), text, ..Listed::default() };
        lines.push(Listed { is_fault: at == 0, ..line });
    }
    lines
}

/// The access that failed, if that is why the thread stopped.
fn access(crash: &mut Crash<'_>, wanted: Option<Operation>, hit: Option<Touched>) -> Option<Access> {
    let told = crash.access?;
    // The processor tells no address of a general protection fault; the instruction does.
    let address = if crash.is_address_unknown { hit.map_or(told, |hit| hit.address) } else { told };
    let is_known = !crash.is_address_unknown || hit.is_some();
    let is_execute = crash.instruction_pointer() == Some(address) && crash.memory.is_mapped(address) != Some(true);
    let operation = crash.operation.or(is_execute.then_some(Operation::Execute)).or(wanted);
    let (Some(operation), true) = (operation, is_known) else {
        let words = if is_known { format!("{address:#x}") } else { "not recorded (general protection)".to_owned() };
        crash.fact("FAULT_ADDRESS", words);
        return None;
    };
    let mapped = crash.memory.is_mapped(address);
    Some(Access {
        operation,
        address: Hex(address),
        class: Some(class(crash, address, mapped)),
        mapped,
        walk: Vec::new(),
    })
}

/// What kind of address it is.
fn class(crash: &Crash<'_>, address: u64, mapped: Option<bool>) -> String {
    let is_64 = matches!(crash.isa(), Some(Isa::X64 | Isa::Arm64));
    let from_stack = crash.stack_pointer().map(|sp| address.abs_diff(sp));
    if address < NULL_PAGE_END {
        "null page"
    } else if is_64 && (USER_END..KERNEL_START).contains(&address) {
        "non-canonical"
    } else if is_64 && address >= KERNEL_START {
        "kernel"
    } else if mapped != Some(true) && from_stack.is_some_and(|bytes| bytes < STACK_GUARD_BYTES) {
        "stack guard"
    } else if mapped == Some(true) {
        "protected"
    } else {
        "user"
    }
    .to_owned()
}
