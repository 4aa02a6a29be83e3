//! Registers of a processor.

use crate::report::Registers;

/// The processors whose dumps are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X64,
    Arm64,
}

/// A processor's registers.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub machine: Machine,
    pub registers: Registers,
    pub ip: u64,
    pub sp: u64,
    pub flags: Option<u32>,
}

impl Cpu {
    /// A register's value by name.
    pub(crate) fn value(&self, name: &str) -> Option<u64> {
        self.registers.get(name).map(|register| register.value.0)
    }

    /// A register's value, if it is the one at the fault.
    pub(crate) fn valid(&self, name: &str) -> Option<u64> {
        self.registers.get(name).filter(|register| register.valid).map(|register| register.value.0)
    }

    /// The flags of x64 as a debugger prints them: `iopl=0         nv up ei ng nz na po nc`.
    pub(crate) fn flags_text(&self) -> Option<String> {
        const WORDS: [(u32, &str, &str); 8] = [
            (11, "ov", "nv"),
            (10, "dn", "up"),
            (9, "ei", "di"),
            (7, "ng", "pl"),
            (6, "zr", "nz"),
            (4, "ac", "na"),
            (2, "pe", "po"),
            (0, "cy", "nc"),
        ];
        let flags = self.flags?;
        let words = WORDS.iter().map(|(bit, set, unset)| if flags >> bit & 1 == 1 { *set } else { *unset });
        Some(format!("iopl={}         {}", flags >> 12 & 3, words.collect::<Vec<_>>().join(" ")))
    }
}
