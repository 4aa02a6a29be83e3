//! Whether a word on a stack may be a return address: the bytes before what it points at are a call, or not, or not in the dump.

use iced_x86::{Decoder, DecoderOptions, FlowControl};

/// Longest call of x64 that compilers make: REX, opcode, ModRM, SIB, 32-bit displacement.
const CALL_BYTES_MAX: usize = 8;

/// Instructions of which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    X86,
    X64,
    Arm64,
}

impl Isa {
    /// Bits of an address of an x86 machine; `None` for another.
    pub(crate) fn x86_bits(self) -> Option<u32> {
        match self {
            Self::X86 => Some(32),
            Self::X64 => Some(64),
            Self::Arm64 => None,
        }
    }
}

/// What the bytes before an address say of it as a return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// They end in a call.
    Call,
    /// They do not.
    NoCall,
    /// They are not in the dump.
    Absent,
}

/// Bytes of a dump's memory: all of them or none.
pub(crate) type Read<'r> = dyn Fn(u64, usize) -> Option<Vec<u8>> + 'r;

/// Whether the bytes before an address are a call.
pub(crate) fn before(read: &Read<'_>, address: u64, isa: Isa) -> Before {
    match isa.x86_bits() {
        Some(bits) => {
            let bytes = bytes_before(read, address, CALL_BYTES_MAX);
            for size in 2..=bytes.len() {
                let candidate = bytes.get(bytes.len().saturating_sub(size)..).unwrap_or_default();
                let instruction = Decoder::with_ip(bits, candidate, 0, DecoderOptions::NONE).decode();
                let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
                if is_call && instruction.len() == size && !instruction.is_invalid() {
                    return Before::Call;
                }
            }
            if bytes.len() < CALL_BYTES_MAX {
                Before::Absent
            } else {
                Before::NoCall
            }
        }
        None => match address.checked_sub(4).and_then(|at| read(at, 4)?.try_into().ok()).map(u32::from_le_bytes) {
            None => Before::Absent,
            Some(word) => {
                let is_bl = word & 0xfc00_0000 == 0x9400_0000;
                let is_blr = word & 0xffff_fc1f == 0xd63f_0000 || word & 0xfeff_f800 == 0xd63f_0800;
                if is_bl || is_blr {
                    Before::Call
                } else {
                    Before::NoCall
                }
            }
        },
    }
}

/// As many of the bytes before an address as follow each other without a gap.
pub(crate) fn bytes_before(read: &Read<'_>, address: u64, size_max: usize) -> Vec<u8> {
    let from = |size: usize| {
        let start = address.checked_sub(u64::try_from(size).ok()?)?;
        read(start, size)
    };
    (1..=size_max).rev().find_map(from).unwrap_or_default()
}
