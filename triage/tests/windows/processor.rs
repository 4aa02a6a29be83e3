//! As much of a processor as the compiled driver needs: integers, branches, calls. What it does not know it refuses loudly.

use iced_x86::{ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::machine::Machine;

/// Instructions after which a driver that does not fault is given up.
const STEPS_MAX: u32 = 1_000_000;

#[derive(Default)]
struct Flags {
    zero: bool,
    sign: bool,
    carry: bool,
    overflow: bool,
    parity: bool,
}

/// The processor, its memory, and the calls that are open.
pub struct Processor {
    pub machine: Machine,
    pub registers: [u64; 16],
    pub ip: u64,
    /// Of each open call: what it returns to, and the stack pointer after that.
    pub calls: Vec<(u64, u64)>,
    flags: Flags,
}

/// Why it stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub address: u64,
}

const RSP: usize = 4;

impl Processor {
    pub fn new(machine: Machine, ip: u64, sp: u64) -> Self {
        let mut registers: [u64; 16] =
            std::array::from_fn(|number| 0x0101_0101_0101_0101_u64.wrapping_mul(number as u64));
        registers[RSP] = sp;
        Self { machine, registers, ip, calls: Vec::new(), flags: Flags::default() }
    }

    /// Runs until an access to memory that is not there.
    pub fn run(&mut self) -> Fault {
        for _ in 0..STEPS_MAX {
            let code = (1..=15).rev().find_map(|size| self.machine.get(self.ip, size)).expect("code");
            let instruction = Decoder::with_ip(64, &code, self.ip, DecoderOptions::NONE).decode();
            if let Err(fault) = self.step(&instruction) {
                return fault;
            }
        }
        unreachable!("no fault after {STEPS_MAX} instructions");
    }

    fn load(&self, address: u64, size: usize) -> Result<u64, Fault> {
        let bytes = self.machine.get(address, size).ok_or(Fault { address })?;
        Ok(bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)))
    }

    fn save(&mut self, address: u64, size: usize, value: u64) -> Result<(), Fault> {
        self.load(address, size)?;
        self.machine.put(address, &value.to_le_bytes()[..size]);
        Ok(())
    }

    fn address(&self, instruction: &Instruction) -> u64 {
        let memory = (0..instruction.op_count()).find(|at| instruction.op_kind(*at) == OpKind::Memory).expect("memory");
        let register = |register: Register, _: usize, _: usize| match register {
            Register::DS | Register::SS | Register::CS | Register::ES => Some(0),
            _ => Some(self.register(register)),
        };
        instruction.virtual_address(memory, 0, register).expect("an address")
    }

    fn register(&self, register: Register) -> u64 {
        assert!(!matches!(register, Register::AH | Register::BH | Register::CH | Register::DH), "{register:?}");
        self.registers[register.full_register().number()] & mask(register.size())
    }

    fn size(instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            OpKind::Memory => instruction.memory_size().size(),
            // A number is as wide as what it is used with; alone it is a word.
            _ if operand > 0 => Self::size(instruction, 0),
            _ => 8,
        }
    }

    fn read(&self, instruction: &Instruction, operand: u32) -> Result<u64, Fault> {
        let size = Self::size(instruction, operand);
        Ok(match instruction.op_kind(operand) {
            OpKind::Register => self.register(instruction.op_register(operand)),
            OpKind::Memory => self.load(self.address(instruction), size)?,
            _ => instruction.immediate(operand) & mask(size),
        })
    }

    fn write(&mut self, instruction: &Instruction, value: u64) -> Result<(), Fault> {
        let size = Self::size(instruction, 0);
        if instruction.op0_kind() == OpKind::Memory {
            return self.save(self.address(instruction), size, value);
        }
        let slot = &mut self.registers[instruction.op0_register().full_register().number()];
        // A write of 32 bits clears the upper half; smaller ones leave the rest.
        *slot = if size >= 4 { value & mask(size) } else { (*slot & !mask(size)) | (value & mask(size)) };
        Ok(())
    }

    fn set_flags(&mut self, result: u64, size: usize) {
        self.flags.zero = result & mask(size) == 0;
        self.flags.sign = (result >> (size * 8 - 1)) & 1 == 1;
        self.flags.parity = (result as u8).count_ones().is_multiple_of(2);
    }

    fn add(&mut self, a: u64, b: u64, size: usize) -> u64 {
        let result = a.wrapping_add(b) & mask(size);
        self.flags.carry = result < a;
        self.flags.overflow = ((a ^ result) & (b ^ result)) >> (size * 8 - 1) & 1 == 1;
        self.set_flags(result, size);
        result
    }

    fn subtract(&mut self, a: u64, b: u64, size: usize) -> u64 {
        let result = a.wrapping_sub(b) & mask(size);
        self.flags.carry = a < b;
        self.flags.overflow = ((a ^ b) & (a ^ result)) >> (size * 8 - 1) & 1 == 1;
        self.set_flags(result, size);
        result
    }

    fn logic(&mut self, result: u64, size: usize) -> u64 {
        (self.flags.carry, self.flags.overflow) = (false, false);
        self.set_flags(result, size);
        result
    }

    fn holds(&self, condition: ConditionCode) -> bool {
        let flags = &self.flags;
        match condition {
            ConditionCode::e => flags.zero,
            ConditionCode::ne => !flags.zero,
            ConditionCode::b => flags.carry,
            ConditionCode::ae => !flags.carry,
            ConditionCode::be => flags.carry || flags.zero,
            ConditionCode::a => !flags.carry && !flags.zero,
            ConditionCode::s => flags.sign,
            ConditionCode::ns => !flags.sign,
            ConditionCode::l => flags.sign != flags.overflow,
            ConditionCode::ge => flags.sign == flags.overflow,
            ConditionCode::le => flags.zero || flags.sign != flags.overflow,
            ConditionCode::g => !flags.zero && flags.sign == flags.overflow,
            other => unreachable!("condition {other:?}"),
        }
    }

    fn push(&mut self, value: u64) -> Result<(), Fault> {
        let sp = self.registers[RSP] - 8;
        self.save(sp, 8, value)?;
        self.registers[RSP] = sp;
        Ok(())
    }

    fn pop(&mut self) -> Result<u64, Fault> {
        let value = self.load(self.registers[RSP], 8)?;
        self.registers[RSP] += 8;
        Ok(value)
    }

    /// One instruction. A fault leaves `ip` at it.
    fn step(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        let size = if instruction.op_count() == 0 { 8 } else { Self::size(instruction, 0) };
        let mut next = instruction.next_ip();
        match instruction.mnemonic() {
            Mnemonic::Nop => {}
            Mnemonic::Mov | Mnemonic::Movzx => {
                let value = self.read(instruction, 1)?;
                self.write(instruction, value)?;
            }
            Mnemonic::Movsxd | Mnemonic::Movsx => {
                let unused = 64 - Self::size(instruction, 1) * 8;
                let value = ((self.read(instruction, 1)? << unused) as i64 >> unused) as u64;
                self.write(instruction, value)?;
            }
            Mnemonic::Lea => {
                let value = self.address(instruction);
                self.write(instruction, value)?;
            }
            Mnemonic::Add
            | Mnemonic::Sub
            | Mnemonic::Cmp
            | Mnemonic::And
            | Mnemonic::Or
            | Mnemonic::Xor
            | Mnemonic::Test => {
                let (a, b) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
                let result = match instruction.mnemonic() {
                    Mnemonic::Add => self.add(a, b, size),
                    Mnemonic::Sub | Mnemonic::Cmp => self.subtract(a, b, size),
                    Mnemonic::And | Mnemonic::Test => self.logic(a & b, size),
                    Mnemonic::Or => self.logic(a | b, size),
                    _ => self.logic(a ^ b, size),
                };
                if !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) {
                    self.write(instruction, result)?;
                }
            }
            Mnemonic::Inc | Mnemonic::Dec => {
                let (a, carry) = (self.read(instruction, 0)?, self.flags.carry);
                let is_inc = instruction.mnemonic() == Mnemonic::Inc;
                let result = if is_inc { self.add(a, 1, size) } else { self.subtract(a, 1, size) };
                self.flags.carry = carry;
                self.write(instruction, result)?;
            }
            Mnemonic::Neg => {
                let a = self.read(instruction, 0)?;
                let result = self.subtract(0, a, size);
                self.write(instruction, result)?;
            }
            Mnemonic::Shl | Mnemonic::Shr => {
                let (a, by) = (self.read(instruction, 0)?, self.read(instruction, 1)? & 63);
                let result = if instruction.mnemonic() == Mnemonic::Shl { a << by } else { a >> by };
                let result = self.logic(result & mask(size), size);
                self.write(instruction, result)?;
            }
            Mnemonic::Imul => {
                let (a, b) = match instruction.op_count() {
                    2 => (self.read(instruction, 0)?, self.read(instruction, 1)?),
                    _ => (self.read(instruction, 1)?, self.read(instruction, 2)?),
                };
                self.write(instruction, a.wrapping_mul(b))?;
            }
            Mnemonic::Push => {
                let value = self.read(instruction, 0)?;
                self.push(value)?;
            }
            Mnemonic::Pop => {
                let value = self.pop()?;
                self.write(instruction, value)?;
            }
            Mnemonic::Call => {
                assert_eq!(instruction.op0_kind(), OpKind::NearBranch64, "an indirect call");
                self.calls.push((next, self.registers[RSP]));
                self.push(next)?;
                next = instruction.near_branch_target();
            }
            Mnemonic::Ret => {
                next = self.pop()?;
                assert_eq!(self.calls.pop().expect("an open call").0, next, "a return to somewhere else");
            }
            Mnemonic::Jmp => next = instruction.near_branch_target(),
            _ if instruction.is_jcc_short_or_near() => {
                if self.holds(instruction.condition_code()) {
                    next = instruction.near_branch_target();
                }
            }
            _ if instruction.condition_code() != ConditionCode::None && instruction.op_count() == 2 => {
                let holds = self.holds(instruction.condition_code());
                let value = self.read(instruction, if holds { 1 } else { 0 })?;
                self.write(instruction, value)?;
            }
            _ if instruction.condition_code() != ConditionCode::None => {
                let holds = self.holds(instruction.condition_code());
                self.write(instruction, u64::from(holds))?;
            }
            other => unreachable!("{other:?} at {:#x} is not known here", self.ip),
        }
        self.ip = next;
        Ok(())
    }
}

fn mask(size: usize) -> u64 {
    if size >= 8 {
        u64::MAX
    } else {
        (1 << (size * 8)) - 1
    }
}
