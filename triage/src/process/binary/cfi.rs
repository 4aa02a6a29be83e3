//! The caller of a frame by `.eh_frame`: for each stretch of code, where the return address lies and where the caller's registers were saved.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, EndianSlice, EvaluationResult, Format, LittleEndian,
    Pointer, Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection as _, Value,
};
use minidump_unwind::FrameWalker;

use super::elf::{Elf, Segment, PT_EH_FRAME};

type Reader<'b> = EndianSlice<'b, LittleEndian>;

/// Steps of one expression.
const STEPS_MAX: u32 = 1_000;
/// Of 64-bit code.
const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };

/// Registers of x86-64 that survive a call or that rules name, by their number in DWARF.
const X64: [(u16, &str); 16] = [
    (0, "rax"),
    (1, "rdx"),
    (2, "rcx"),
    (3, "rbx"),
    (4, "rsi"),
    (5, "rdi"),
    (6, "rbp"),
    (7, "rsp"),
    (8, "r8"),
    (9, "r9"),
    (10, "r10"),
    (11, "r11"),
    (12, "r12"),
    (13, "r13"),
    (14, "r14"),
    (15, "r15"),
];
/// Number of the return address.
const X64_RETURN: u16 = 16;
/// Numbers of ARM64's frame pointer, link register and stack pointer.
const ARM64_FP: u16 = 29;
const ARM64_LR: u16 = 30;
const ARM64_SP: u16 = 31;

/// The rules of a file.
pub(super) struct Rules {
    header: Vec<u8>,
    frames: Vec<u8>,
    bases: BaseAddresses,
}

impl Rules {
    pub(super) fn read(elf: &Elf) -> Option<Self> {
        let Segment { address: place, offset, file_bytes, .. } = *elf.segment(PT_EH_FRAME)?;
        let header = elf.held(offset, file_bytes);
        let bases = BaseAddresses::default().set_eh_frame_hdr(place);
        let parsed = EhFrameHdr::new(&header, LittleEndian).parse(&bases, ENCODING.address_size).ok()?;
        let Pointer::Direct(start) = parsed.eh_frame_ptr() else { return None };
        let frames = elf.rest(start);
        Some(Self { bases: bases.set_eh_frame(start), header, frames })
    }

    /// Sets the caller's registers. `at` is the instruction's address as the file has it.
    pub(super) fn unwind(&self, at: u64, walker: &mut (dyn FrameWalker + Send)) -> Option<()> {
        let header = EhFrameHdr::new(&self.header, LittleEndian).parse(&self.bases, ENCODING.address_size).ok()?;
        let section = EhFrame::new(&self.frames, LittleEndian);
        let entry = header.table()?.fde_for_address(&section, &self.bases, at, EhFrame::cie_from_offset).ok()?;
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(&section, &self.bases, &mut context, at).ok()?;
        let names = Names::of(walker);
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                names.value(walker, *register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => evaluate(expression, &section, None, &names, walker)?,
        };
        // All is read before anything is set: a rule may name a register that another one restores.
        let mut restored = Vec::new();
        for (register, rule) in row.registers() {
            let stored = |at: u64| walker.get_register_at_address(at);
            let value = match rule {
                RegisterRule::Offset(offset) => stored(cfa.wrapping_add_signed(*offset)),
                RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
                RegisterRule::Register(other) => names.value(walker, *other),
                RegisterRule::Expression(expression) => {
                    evaluate(expression, &section, Some(cfa), &names, walker).and_then(stored)
                }
                RegisterRule::ValExpression(expression) => evaluate(expression, &section, Some(cfa), &names, walker),
                RegisterRule::Constant(value) => Some(*value),
                RegisterRule::SameValue => continue,
                _ => None,
            };
            restored.push((*register, value));
        }
        let back = entry.cie().return_address_register();
        let of_rule = restored.iter().find(|(register, _)| *register == back).map(|(_, value)| *value);
        // Without a rule the link register holds it still; that it is undefined ends the stack.
        let address = match of_rule {
            Some(value) => value?,
            None => names.value(walker, back)?,
        };
        walker.set_cfa(cfa)?;
        walker.set_ra(address)?;
        for (register, value) in restored.into_iter().filter(|(register, _)| *register != back) {
            let Some(name) = names.name(register) else { continue };
            match value {
                Some(value) => drop(walker.set_caller_register(&name, value)),
                None => walker.clear_caller_register(&name),
            }
        }
        Some(())
    }
}

/// Which processor's registers there are.
enum Names {
    X64,
    Arm64,
}

impl Names {
    fn of(walker: &(dyn FrameWalker + Send)) -> Self {
        match walker.get_callee_register("rsp") {
            Some(_) => Self::X64,
            None => Self::Arm64,
        }
    }

    fn name(&self, register: Register) -> Option<String> {
        match (self, register.0) {
            (Self::X64, X64_RETURN) => Some("rip".to_owned()),
            (Self::X64, number) => X64.iter().find(|(one, _)| *one == number).map(|(_, name)| (*name).to_owned()),
            (Self::Arm64, ARM64_FP) => Some("fp".to_owned()),
            (Self::Arm64, ARM64_LR) => Some("lr".to_owned()),
            (Self::Arm64, ARM64_SP) => Some("sp".to_owned()),
            (Self::Arm64, number @ 0..ARM64_FP) => Some(format!("x{number}")),
            (Self::Arm64, _) => None,
        }
    }

    fn value(&self, walker: &(dyn FrameWalker + Send), register: Register) -> Option<u64> {
        walker.get_callee_register(&self.name(register)?)
    }
}

/// The value of an expression; `start` is on its stack to begin with.
fn evaluate(
    expression: &UnwindExpression<usize>,
    section: &EhFrame<Reader<'_>>,
    start: Option<u64>,
    names: &Names,
    walker: &(dyn FrameWalker + Send),
) -> Option<u64> {
    let expression = expression.get(section).ok()?;
    let mut evaluation = expression.evaluation(ENCODING);
    evaluation.set_max_iterations(STEPS_MAX);
    if let Some(start) = start {
        evaluation.set_initial_value(start);
    }
    let mut result = evaluation.evaluate().ok()?;
    loop {
        result = match result {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                evaluation.resume_with_register(Value::Generic(names.value(walker, register)?)).ok()?
            }
            EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                evaluation.resume_with_memory(Value::Generic(walker.get_register_at_address(address)?)).ok()?
            }
            _ => return None,
        };
    }
    let [piece] = evaluation.as_result() else { return None };
    match piece.location {
        gimli::Location::Address { address } => Some(address),
        gimli::Location::Value { value: Value::Generic(value) } => Some(value),
        _ => None,
    }
}
