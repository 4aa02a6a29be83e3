//! Unwinding by tables, against a stack that a little processor made: it runs the prologues of functions whose unwind codes are
//! written beside them. The truth is what the processor pushed, which the reader never sees.

use watertight_triage::report::{Hex, Trust};
use watertight_triage::Report;

use super::machine::{Machine, Module};
use super::{report_of, scene, writer};

const NT: u64 = 0xffff_f806_5340_0000;
const DRIVER: u64 = 0xffff_f806_7143_0000;
const STACK: (u64, u64) = (0xffff_9405_8305_9000, 0xffff_9405_8306_0000);
const ADDRESS: u64 = 0xffff_8405_0000_0074;
const RBX: usize = 3;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;
const R12: usize = 12;
const R14: usize = 14;

/// A function: the registers that its prologue pushes, what it allocates, whether rbp is its frame register.
struct Function {
    begin: u32,
    pushes: &'static [usize],
    allocates: u32,
    frame: Option<u32>,
    /// The processor pushed its frame before it.
    is_trap_handler: bool,
    /// Its unwind record is in a second part that is chained to the first.
    is_chained: bool,
}

impl Function {
    const fn plain(begin: u32, pushes: &'static [usize], allocates: u32) -> Self {
        Self { begin, pushes, allocates, frame: None, is_trap_handler: false, is_chained: false }
    }

    /// Where the call or the fault in its body is.
    fn body(&self) -> u32 {
        self.begin + 0x80
    }

    /// The prologue's code, and its unwind codes in the order in which they are stored.
    fn prologue(&self) -> (Vec<u8>, Vec<u8>) {
        let mut code = Vec::new();
        let mut unwind: Vec<Vec<u8>> = Vec::new();
        if self.is_trap_handler {
            unwind.push(vec![0, 0x1a]);
        }
        for register in self.pushes {
            if *register >= 8 {
                code.push(0x41);
            }
            code.push(0x50 | (*register as u8 & 7));
            unwind.push(vec![code.len() as u8, (*register as u8) << 4]);
        }
        code.extend([0x48, 0x81, 0xec]);
        code.extend(self.allocates.to_le_bytes());
        let done = code.len() as u8;
        unwind.push(if self.allocates <= 128 {
            vec![done, (((self.allocates / 8 - 1) as u8) << 4) | 2]
        } else {
            let [low, high] = ((self.allocates / 8) as u16).to_le_bytes();
            vec![done, 1, low, high]
        });
        if let Some(offset) = self.frame {
            code.extend([0x48, 0x8d, 0xac, 0x24]);
            code.extend(offset.to_le_bytes());
            unwind.push(vec![code.len() as u8, 3]);
        }
        unwind.reverse();
        (code, unwind.concat())
    }
}

/// A processor that knows what these functions need.
struct Processor {
    machine: Machine,
    registers: [u64; 16],
    sp: u64,
    /// Frames, the outermost first: instruction and stack pointer in the function's body.
    truth: Vec<(u64, u64)>,
}

impl Processor {
    fn push(&mut self, word: u64) {
        self.sp -= 8;
        self.machine.put_u64(self.sp, word);
    }

    /// Runs a function's prologue up to its body.
    fn enter(&mut self, base: u64, function: &Function) {
        for register in function.pushes {
            self.push(self.registers[*register]);
        }
        self.sp -= u64::from(function.allocates);
        // Locals look like return addresses: words behind a call that nobody made.
        for at in (self.sp + 0x20..self.sp + u64::from(function.allocates).min(0x60)).step_by(8) {
            self.machine.put_u64(at, DRIVER + 0x1085);
        }
        if let Some(offset) = function.frame {
            self.registers[RBP] = self.sp + u64::from(offset);
        }
        // The body has its own use for the registers that it saved.
        for register in function.pushes.iter().filter(|register| **register != RBP || function.frame.is_none()) {
            self.registers[*register] = self.registers[*register].wrapping_mul(31) ^ u64::from(function.begin);
        }
        self.truth.push((base + u64::from(function.body()), self.sp));
    }

    /// Calls a function from the body of the one that runs.
    fn call(&mut self, base: u64, function: &Function) {
        let last = self.truth.last_mut().expect("a caller");
        last.0 += 5;
        let return_address = last.0;
        self.push(return_address);
        self.enter(base, function);
    }

    /// Faults: the processor pushes its frame, the kernel's handler makes the trap frame.
    fn fault(&mut self, handler: &Function) {
        let (ip, sp) = *self.truth.last().expect("a body");
        self.sp = sp & !0xf;
        for word in [0x18, sp, 0x282, 0x10, ip, 0] {
            self.push(word);
        }
        // rip, cs, flags, rsp and ss are in place; the error code is the lowest.
        let trap_frame = self.sp - 0x160;
        let rbp = self.registers[RBP];
        self.enter(NT, handler);
        assert_eq!(self.sp, trap_frame);
        for (at, value) in [(0x30, 0xaaaa), (0x48, ADDRESS), (0xd0, ADDRESS), (0x158, rbp)] {
            self.machine.put_u64(trap_frame + at, value);
        }
    }
}

/// Writes a PE image with its functions and their tables. `calls` is the set of offsets at which a call stands.
fn put_image(machine: &mut Machine, base: u64, functions: &[Function]) {
    const TABLE: u32 = 0x3000;
    const RECORDS: u32 = 0x4000;
    for page in (0..0x5000).step_by(0x1000) {
        machine.fill(base + page, 0xcc);
    }
    machine.put(base, &[0; 0x400]);
    machine.put(base, b"MZ");
    machine.put(base + 0x3c, &0x80_u32.to_le_bytes());
    machine.put(base + 0x80, b"PE\0\0");
    machine.put(base + 0x88, &0x6512_3456_u32.to_le_bytes());
    machine.put(base + 0x98, &0x20b_u16.to_le_bytes());
    machine.put(base + 0xd8, &0xbeef_u32.to_le_bytes());
    machine.put(base + 0x104, &16_u32.to_le_bytes());
    let mut entries: Vec<[u32; 3]> = Vec::new();
    let mut record = RECORDS;
    for function in functions {
        let (code, codes) = function.prologue();
        let at = base + u64::from(function.begin);
        machine.put(at, &code);
        machine.put(base + u64::from(function.body()), &[0xe8, 1, 0, 0, 0]);
        let frame = function.frame.map_or(0, |offset| ((offset / 16) << 4) | RBP as u32) as u8;
        machine.put(base + u64::from(record), &[1, code.len() as u8, (codes.len() / 2) as u8, frame]);
        machine.put(base + u64::from(record) + 4, &codes);
        let first = record;
        record += (4 + codes.len().next_multiple_of(4)) as u32;
        if function.is_chained {
            entries.push([function.begin, function.begin + 0x40, first]);
            // The second part has no codes of its own: it names the first.
            machine.put(base + u64::from(record), &[0x21, 0, 0, 0]);
            for (number, word) in [function.begin, function.begin + 0x40, first].iter().enumerate() {
                machine.put(base + u64::from(record) + 4 + number as u64 * 4, &word.to_le_bytes());
            }
            entries.push([function.begin + 0x40, function.begin + 0x100, record]);
            record += 16;
        } else {
            entries.push([function.begin, function.begin + 0x100, first]);
        }
    }
    machine.put(base + 0x120, &TABLE.to_le_bytes());
    machine.put(base + 0x124, &(entries.len() as u32 * 12).to_le_bytes());
    let table: Vec<u8> = entries.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
    machine.put(base + u64::from(TABLE), &table);
}

const START: Function = Function::plain(0x1000, &[], 0x48);
const HANDLER: Function = Function {
    begin: 0x1100,
    pushes: &[RBP],
    allocates: 0x158,
    frame: Some(0x80),
    is_trap_handler: true,
    is_chained: false,
};
const STOP: Function = Function::plain(0x1200, &[RBX, RDI], 0x28);
const DISPATCH: Function = Function::plain(0x1000, &[RBX, RSI, R14], 0x60);
const PARSE: Function = Function {
    begin: 0x1100,
    pushes: &[RBP, R12],
    allocates: 0x1c0,
    frame: Some(0x40),
    is_trap_handler: false,
    is_chained: false,
};
const COMPARE: Function = Function {
    begin: 0x1200,
    pushes: &[RBX, RDI],
    allocates: 0x80,
    frame: None,
    is_trap_handler: false,
    is_chained: true,
};

/// Runs to the stop and gives the machine, the truth (innermost first), and the registers at the fault.
fn crashed() -> (Machine, Vec<(u64, u64)>, [u64; 16]) {
    let module = |path, base| Module { path, base, size: 0x5000, timestamp: 0, checksum: 0 };
    let mut machine = Machine {
        bugcheck: 0x50,
        parameters: [ADDRESS, 0, DRIVER + u64::from(COMPARE.body()), 2],
        modules: vec![
            module(r"\SystemRoot\system32\ntoskrnl.exe", NT),
            module(r"\SystemRoot\drivers\sensor.sys", DRIVER),
        ],
        stack: STACK,
        self_map: 0x1ed,
        exception: (0x8000_0003, 0),
        ..Machine::default()
    };
    (STACK.0..STACK.1).step_by(0x1000).for_each(|page| machine.fill(page, 0));
    put_image(&mut machine, NT, &[START, HANDLER, STOP]);
    put_image(&mut machine, DRIVER, &[DISPATCH, PARSE, COMPARE]);
    let registers = std::array::from_fn(|number| 0x1111_1111 * number as u64);
    let mut processor = Processor { machine, registers, sp: STACK.1 - 0x40, truth: Vec::new() };
    processor.push(0);
    processor.enter(NT, &START);
    processor.call(DRIVER, &DISPATCH);
    processor.call(DRIVER, &PARSE);
    processor.call(DRIVER, &COMPARE);
    let at_fault = processor.registers;
    processor.machine.put(DRIVER + u64::from(COMPARE.body()), &[0x45, 0x8b, 0x08, 0xcc, 0xcc]);
    processor.fault(&HANDLER);
    processor.call(NT, &STOP);
    let mut context = scene::context(processor.truth.last().expect("the stop").0, processor.sp, 0);
    for (number, at) in [(RBX, 0x90), (RBP, 0xa0), (RSI, 0xa8), (RDI, 0xb0), (R12, 0xd8), (R14, 0xe8)] {
        context[at..at + 8].copy_from_slice(&processor.registers[number].to_le_bytes());
    }
    processor.machine.context = context;
    let mut truth = processor.truth;
    truth.reverse();
    (scene::with_kernel(processor.machine, NT), truth, at_fault)
}

fn found(report: &Report) -> Vec<(u64, u64)> {
    report.frames.iter().map(|frame| (frame.ip.expect("an address").0, frame.sp.expect("a stack pointer").0)).collect()
}

#[test]
fn the_unwound_stack_is_the_one_that_the_processor_made() {
    let (machine, truth, at_fault) = crashed();
    let report = report_of(&writer::bitmap(&machine, 5));
    println!("{report}");
    assert_eq!(found(&report), truth);
    let trusts: Vec<Trust> = report.frames.iter().map(|frame| frame.trust).collect();
    assert_eq!(trusts, [Trust::Context, Trust::Unwind, Trust::Context, Trust::Unwind, Trust::Unwind, Trust::Unwind]);
    assert_eq!(report.frames.iter().position(|frame| frame.is_fault), Some(2));
    // The trap frame does not hold these; unwinding through the handlers gives them back.
    for (name, number) in [("rbx", RBX), ("rsi", RSI), ("rdi", RDI), ("r12", R12), ("r14", R14), ("rbp", RBP)] {
        let register = report.registers.get(name).expect("named");
        assert_eq!((register.value, register.valid), (Hex(at_fault[number]), true), "{name}");
    }
    assert_eq!(report.modules[1].timestamp, Some(Hex(0x6512_3456)));
    assert_eq!(report.blamed.and_then(|blamed| blamed.module).as_deref(), Some("sensor"));
}

#[test]
fn without_the_tables_the_same_frames_are_there_and_chance_is_not_hidden() {
    let (mut machine, truth, _) = crashed();
    machine.put(NT, b"--");
    machine.put(DRIVER, b"--");
    let report = report_of(&writer::bitmap(&machine, 5));
    let frames = found(&report);
    let returns: Vec<_> = truth.iter().skip(1).filter(|(ip, _)| *ip != DRIVER + u64::from(COMPARE.body())).collect();
    assert!(returns.iter().all(|frame| frames.contains(frame)), "{report}");
    assert!(frames.len() > truth.len());
    assert!(report.frames.iter().all(|frame| frame.trust != Trust::Unwind));
}

#[test]
fn tables_that_lead_in_a_circle_end_in_a_scan() {
    let (mut machine, _, _) = crashed();
    // The record of the chained part names itself.
    let table = machine.get(DRIVER + 0x3000, 48).expect("the table");
    let record = u32::from_le_bytes(table[44..48].try_into().expect("four bytes"));
    machine.put(DRIVER + u64::from(record) + 12, &record.to_le_bytes());
    let report = report_of(&writer::bitmap(&machine, 5));
    assert!(report.frames.iter().any(|frame| frame.trust == Trust::CallVerified), "{report}");
}
