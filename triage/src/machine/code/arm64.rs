//! Code of ARM64. Instructions are words: there is nothing ambiguous about where they begin. What the decoder does not know is shown as
//! the word that it is.

use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Opcode, Operand, ShiftStyle, SizeCode};

use super::{Code, LINES_BEFORE, LINES_FROM};
use crate::machine::bytes::{array_at, hex};
use crate::report::{self, Hex, Listed, Operation};

/// Size of an instruction.
const WORD_BYTES: u64 = 4;
/// Where operands begin in a line.
const OPERANDS_AT: usize = 8;
/// Number of the stack pointer, or of the register that is always 0.
const LAST: u16 = 31;

/// Memory that an instruction uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub address: u64,
    pub size: usize,
    pub operation: Operation,
}

/// Lines before the fault and from it on, those whose bytes are there.
pub(super) fn listing(code: &Code<'_>, address: u64) -> Vec<Listed> {
    let before = u64::try_from(LINES_BEFORE).unwrap_or_default().saturating_mul(WORD_BYTES);
    let start = address.saturating_sub(before);
    // A pointer of a hostile dump may stand at the end of all addresses.
    let lines = u64::try_from(LINES_BEFORE.saturating_add(LINES_FROM)).unwrap_or_default();
    let places = (0..lines).map_while(|number| start.checked_add(number.checked_mul(WORD_BYTES)?));
    let line = |at: u64| {
        let bytes: [u8; 4] = array_at(&code.all(at, 4)?, 0)?;
        Some(Listed {
            address: Some(Hex(at)),
            place: (code.place)(at),
            bytes: hex(&bytes),
            text: text(u32::from_le_bytes(bytes), at, code.place),
            is_fault: at == address,
            ambiguous: false,
        })
    };
    places.filter_map(line).collect()
}

/// The instruction at an address, with its operand in memory.
pub(super) fn instruction(code: &Code<'_>, address: u64) -> Option<report::Instruction> {
    let bytes: [u8; 4] = array_at(&code.all(address, 4)?, 0)?;
    let word = u32::from_le_bytes(bytes);
    let operand = touched(word, code.is_located.then_some(address), code.register).map(|touched| shown(code, touched));
    Some(report::Instruction { bytes: hex(&bytes), text: Some(text(word, address, code.place)), operand })
}

/// An operand as a debugger prints it: `00000000`00000018=????????`.
fn shown(code: &Code<'_>, touched: Touched) -> String {
    let Touched { address, size, .. } = touched;
    format!("{:08x}`{:08x}={}", address >> 32, address & 0xffff_ffff, code.value(address, size))
}

fn decoded(word: u32) -> Option<Instruction> {
    InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())).ok()
}

/// An instruction in words; what it names by distance is told by its place.
pub(crate) fn text(word: u32, address: u64, place: &dyn Fn(u64) -> Option<String>) -> String {
    let Some(instruction) = decoded(word) else {
        return format!("{:<OPERANDS_AT$}{word:#010x}", ".inst");
    };
    let text = instruction.to_string();
    let (name, operands) = text.split_once(' ').unwrap_or((&text, ""));
    let Some(target) = target(&instruction, address) else {
        return format!("{name:<OPERANDS_AT$}{operands}").trim_end().to_owned();
    };
    let target = place(target).unwrap_or_else(|| format!("{target:#x}"));
    // A distance is the last operand, and the only one that begins so.
    let operands = operands.split_once('$').map_or(operands, |(front, _)| front);
    format!("{name:<OPERANDS_AT$}{operands}{target}")
}

/// The place that an instruction names by its distance.
fn target(instruction: &Instruction, address: u64) -> Option<u64> {
    let distance = instruction.operands.iter().find_map(|operand| match operand {
        Operand::PCOffset(distance) => Some(*distance),
        _ => None,
    })?;
    let from = if instruction.opcode == Opcode::ADRP { address & !0xfff } else { address };
    Some(from.wrapping_add_signed(distance))
}

/// The memory that an instruction uses, as far as its registers are known.
pub(crate) fn touched(word: u32, address: Option<u64>, register: &dyn Fn(&str) -> Option<u64>) -> Option<Touched> {
    let operation = operation(word)?;
    let instruction = decoded(word)?;
    let general = |number: u16| match number {
        29 => register("fp").or_else(|| register("x29")),
        30 => register("lr").or_else(|| register("x30")),
        _ => register(&format!("x{number}")),
    };
    let base = |number: u16| if number == LAST { register("sp") } else { general(number) };
    let of = |operand: &Operand| match *operand {
        Operand::RegPreIndex(from, distance, _) => Some(base(from)?.wrapping_add_signed(i64::from(distance))),
        Operand::RegPostIndex(from, _) | Operand::RegPostIndexReg(from, _) => base(from),
        Operand::RegRegOffset(from, index, size, style, shift) => {
            let index = if index == LAST { 0 } else { general(index)? };
            Some(base(from)?.wrapping_add(extended(index, size, style, shift)?))
        }
        _ => None,
    };
    // A literal beside the code is named by its distance.
    let address = instruction.operands.iter().find_map(of).or_else(|| target(&instruction, address?))?;
    Some(Touched { address, size: size(word), operation })
}

/// An index register's value as an address takes it.
fn extended(value: u64, size: SizeCode, style: ShiftStyle, shift: u8) -> Option<u64> {
    let low = value & 0xffff_ffff;
    let value = match (style, size) {
        (ShiftStyle::SXTW, _) => i64::from(u32::try_from(low).ok()?.cast_signed()).cast_unsigned(),
        (ShiftStyle::UXTW, _) | (_, SizeCode::W) => low,
        (ShiftStyle::LSL | ShiftStyle::UXTX | ShiftStyle::SXTX, SizeCode::X) => value,
        _ => return None,
    };
    value.checked_shl(u32::from(shift))
}

/// Whether the word is a load or store of a single register.
fn is_single(word: u32) -> bool {
    word >> 27 & 0b111 == 0b111
}

/// What a load or store wants; `None` of another instruction.
pub(crate) fn operation(word: u32) -> Option<Operation> {
    // Loads and stores have x1x0 there.
    if word >> 25 & 0b0101 != 0b0100 {
        return None;
    }
    let is_literal = word >> 27 & 0b111 == 0b011 && word >> 24 & 0b11 == 0;
    let is_vector = word >> 26 & 1 == 1;
    let is_load = if is_literal {
        true
    } else if is_single(word) {
        // Two bits tell: 00 stores, the rest loads; of a vector register the lower one tells, because the other is of its size.
        let kind = word >> 22 & 0b11;
        if is_vector {
            kind & 1 == 1
        } else {
            kind != 0
        }
    } else {
        word >> 22 & 1 == 1
    };
    Some(if is_load { Operation::Read } else { Operation::Write })
}

/// Bytes that a load or store uses.
fn size(word: u32) -> usize {
    let (top, is_vector) = (word >> 30, word >> 26 & 1 == 1);
    let is_pair = word >> 27 & 0b111 == 0b101;
    let is_literal = word >> 27 & 0b111 == 0b011;
    match (is_pair || is_literal, is_vector) {
        (true, true) => (4_usize << top.min(2)).saturating_mul(if is_pair { 2 } else { 1 }),
        (true, false) if is_literal => {
            if top == 1 {
                8
            } else {
                4
            }
        }
        (true, false) => {
            if top & 0b10 == 0 {
                8
            } else {
                16
            }
        }
        (false, true) if !is_single(word) => 8_usize << (top & 1), // a structure of vectors: its first
        (false, true) if word >> 23 & 1 == 1 => 16,
        (false, _) => 1_usize << top,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and texts as LLVM's assembler has them, at 0x1000.
    const TEXTS: [(u32, &str); 9] = [
        (0xb900_1900, "str     w0, [x8, #0x18]"),
        (0xf940_0021, "ldr     x1, [x1]"),
        (0xa9bf_7bfd, "stp     x29, x30, [sp, #-0x10]!"),
        (0x9400_0010, "bl      m+0x40"),
        (0xd65f_03c0, "ret"),
        (0xb000_0000, "adrp    x0, m+0x1000"),
        (0xb400_0061, "cbz     x1, m+0xc"),
        (0xd503_233f, "paciasp"),
        (0x0000_0000, "udf     #0x0"),
    ];

    #[test]
    fn instructions_are_told_in_words_and_their_targets_by_place() {
        let place = |address: u64| address.checked_sub(0x1000).map(|offset| format!("m+{offset:#x}"));
        for (word, expected) in TEXTS {
            assert_eq!(text(word, 0x1000, &place), expected, "{word:#010x}");
        }
        assert_eq!(text(0xffff_ffff, 0x1000, &place), ".inst   0xffffffff");
        assert_eq!(text(0x9400_0010, 0x1000, &|_| None), "bl      0x1040");
    }

    #[test]
    fn the_address_of_an_operand_is_computed_from_the_registers() {
        let register = |name: &str| match name {
            "x1" => Some(0x2000),
            "x2" => Some(0xffff_ffff_ffff_fff0),
            "sp" => Some(0x8000),
            _ => None,
        };
        let at = |word| {
            let touched = touched(word, Some(0x1000), &register)?;
            Some((touched.address, touched.size, touched.operation))
        };
        use Operation::{Read, Write};
        assert_eq!(at(0xf940_0420), Some((0x2008, 8, Read))); // ldr x0, [x1, #8]
        assert_eq!(at(0xb81f_c020), Some((0x1ffc, 4, Write))); // stur w0, [x1, #-4]
        assert_eq!(at(0x3940_0020), Some((0x2000, 1, Read))); // ldrb w0, [x1]
        assert_eq!(at(0xa9bf_7bfd), Some((0x7ff0, 16, Write))); // stp x29, x30, [sp, #-16]!
        assert_eq!(at(0xa8c1_7bfd), Some((0x8000, 16, Read))); // ldp x29, x30, [sp], #16
        assert_eq!(at(0xf862_6820), Some((0x1ff0, 8, Read))); // ldr x0, [x1, x2]
        assert_eq!(at(0xf862_d820), Some((0x1f80, 8, Read))); // ldr x0, [x1, w2, sxtw #3]
        assert_eq!(at(0xf862_5820), Some((0x8_0000_1f80, 8, Read))); // ldr x0, [x1, w2, uxtw #3]
        assert_eq!(at(0x5800_0040), Some((0x1008, 8, Read))); // ldr x0, 0x1008
        assert_eq!(at(0x3dc0_0420), Some((0x2010, 16, Read))); // ldr q0, [x1, #16]
        assert_eq!(at(0x3d80_0420), Some((0x2010, 16, Write))); // str q0, [x1, #16]
        assert_eq!(at(0xc85f_7c20), Some((0x2000, 8, Read))); // ldxr x0, [x1]
        assert_eq!(at(0x08df_fc20), Some((0x2000, 1, Read))); // ldarb w0, [x1]
        assert_eq!(at(0xf940_0060), None); // ldr x0, [x3]: x3 is not known
        assert_eq!(at(0x8b02_0020), None); // add x0, x1, x2
    }

    #[test]
    fn code_at_the_end_of_all_addresses_is_listed_as_far_as_it_goes() {
        let code = Code { is_located: true, some: &|_, size| vec![0; size], place: &|_| None, register: &|_| None };
        for address in [u64::MAX - 3, u64::MAX] {
            let lines = listing(&code, address);
            assert_eq!(lines.len(), LINES_BEFORE + 1);
            assert!(lines.last().is_some_and(|line| line.is_fault));
        }
        assert_eq!(listing(&code, 0).len(), LINES_BEFORE + LINES_FROM);
    }

    #[test]
    fn no_word_is_too_much_for_the_decoder() {
        /// Words that are tried, spread over all that there are.
        const WORDS: u32 = 1 << 18;
        for number in 0..WORDS {
            let word = number.wrapping_mul(0x9e37_79b1);
            assert!(!text(word, 0x1000, &|_| None).is_empty());
            touched(word, Some(u64::MAX), &|_| Some(u64::MAX));
        }
    }
}
