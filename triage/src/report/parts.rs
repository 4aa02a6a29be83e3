//! What a report is made of.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hex::Hex;

/// Bytes of a file, from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // said above
pub struct Span {
    pub start: u64,
    pub end: u64,
}

/// Windows' stop code with its four parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bugcheck {
    /// The code.
    pub code: Hex,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Its parameters.
    pub parameters: Vec<Hex>,
}

/// An exception.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The code.
    pub code: Hex,
    /// Where it was raised.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<Hex>,
    /// Its parameters.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parameters: Vec<Hex>,
}

/// A fact with the name that debuggers give it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The name, in upper case.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A register's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The value.
    pub value: Hex,
    /// Whether it is the one at the fault; a trap frame does not hold them all.
    pub valid: bool,
}

/// Registers by lower-case name, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers(Vec<(String, Register)>);

impl Registers {
    /// Sets a register, in place of what it was.
    pub fn set(&mut self, name: &str, value: u64, valid: bool) {
        let register = Register { value: Hex(value), valid };
        match self.0.iter_mut().find(|(one, _)| one == name) {
            Some((_, old)) => *old = register,
            None => self.0.push((name.to_owned(), register)),
        }
    }

    /// A register by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Register> {
        self.iter().find(|(one, _)| *one == name).map(|(_, register)| register)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Register)> {
        self.0.iter().map(|(name, register)| (name.as_str(), *register))
    }

    /// Drops the registers that `is_dropped` says yes to.
    pub(super) fn forget(&mut self, is_dropped: impl Fn(&str, Register) -> bool) {
        self.0.retain(|(name, register)| !is_dropped(name, *register));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Registers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, register) in &self.0 {
            map.serialize_entry(name, register)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Registers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Registers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("registers by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Registers, A::Error> {
                let mut registers = Registers::default();
                while let Some((name, register)) = map.next_entry::<String, Register>()? {
                    registers.set(&name, register.value.0, register.valid);
                }
                Ok(registers)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// An instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Its bytes in hexadecimal, in memory order.
    pub bytes: String,
    /// Disassembled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// The operand in memory with its address: `ds:ffff8405`00000074=????????`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operand: Option<String>,
}

/// A line of disassembled code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Where it lies; a log may tell the place alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<Hex>,
    /// The same as `module+0x12`, in a log as `function+0x12`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<String>,
    /// The bytes in hexadecimal.
    pub bytes: String,
    /// Disassembled.
    pub text: String,
    /// This is the instruction at the fault.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_fault: bool,
    /// Where an instruction begins before the fault can be told in more than one way here.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub ambiguous: bool,
}

/// What an access to memory wanted to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Read.
    #[default]
    Read,
    /// Write.
    Write,
    /// Execute.
    Execute,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
        })
    }
}

/// An access that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// What it wanted.
    #[serde(rename = "op")]
    pub operation: Operation,
    /// Of which address.
    pub address: Hex,
    /// What kind of address that is: `null page`, `non-canonical`, `user`, `freed`, `stack guard`, `paged pool`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<String>,
    /// Whether the address is mapped; `null` says that this dump can't tell.
    pub mapped: Option<bool>,
    /// The page tables on the way to it, from the top.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub walk: Vec<WalkLevel>,
}

/// One level of the page tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkLevel {
    /// The level's name: `PXE`, `PPE`, `PDE`, `PTE`.
    pub name: String,
    /// Where the entry is seen through the self-map.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<Hex>,
    /// The entry, where the dump holds it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<Hex>,
    /// The page that it names.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pfn: Option<Hex>,
    /// Its flags as letters: `---DA--KWEV`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flags: Option<String>,
    /// What it is in words: `valid`, `large page`, `transition`, `demand zero`, `not valid`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
}

/// Sixteen bytes of memory, or fewer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLine {
    /// Where they lie.
    pub address: Hex,
    /// The bytes in hexadecimal with spaces; `??` for one that is not in the dump.
    pub bytes: String,
}

/// How far a frame can be trusted, the best last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// A word on the stack that points at code; nothing says that it was a call.
    #[default]
    Scan,
    /// The same, and the bytes before it are a call.
    CallVerified,
    /// Found by unwinding.
    Unwind,
    /// The registers themselves.
    Context,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scan => "scan",
            Self::CallVerified => "call-verified",
            Self::Unwind => "unwind",
            Self::Context => "context",
        })
    }
}

/// A word that lay on the stack at a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackWord {
    /// The word.
    pub value: Hex,
    /// Whether it points into a module; only such words are kept where reports are redacted.
    pub in_module: bool,
}

/// A call on the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its number, from 0 for the innermost.
    pub n: u32,
    /// The instruction's address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip: Option<Hex>,
    /// The stack pointer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sp: Option<Hex>,
    /// The address that the call returns to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub return_address: Option<Hex>,
    /// Words of the frame, as the listing of a debugger shows them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub words: Vec<StackWord>,
    /// The module that the instruction lies in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub module: Option<String>,
    /// The instruction's offset from the module's base.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<Hex>,
    /// The function, as it was printed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function: Option<String>,
    /// The instruction's offset from the function's start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function_offset: Option<Hex>,
    /// The source file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// The line in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// Which special stack it lies on: `IRQ`, `NMI`, `#DF`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stack: Option<String>,
    /// How far it can be trusted.
    pub trust: Trust,
    /// This frame is where the fault happened.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_fault: bool,
}

/// A module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its file, as the system knew it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Where it was loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<Hex>,
    /// Its size in memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<Hex>,
    /// When it was linked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timestamp: Option<Hex>,
    /// Its checksum.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<Hex>,
    /// What Linux prints behind it: `OE` for out of tree and unsigned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taint: Option<String>,
}

/// A task of the dead kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub pid: u64,
    /// Its name, without arguments.
    pub name: String,
    /// What it did: `running`, `sleeping`, `blocked` (waits and hears no signal), `killable`, `idle`, `stopped`, `traced`, `dead`, `other`.
    pub state: String,
    /// The processor that it ran on last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<u32>,
}

/// By what a crash is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Which rules made the key: `b1`.
    pub version: String,
    /// The bucket, short.
    pub id: String,
    /// The bucket in words, which the id is a digest of.
    pub key: String,
    /// Kind of the fault and module alone.
    pub family: String,
    /// Module and offset: one build's one place.
    pub exact: String,
}

/// Whose code it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blamed {
    /// The module.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub module: Option<String>,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function: Option<String>,
    /// How that was told.
    pub why: String,
}
