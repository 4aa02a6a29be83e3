//! The crash that this project answers, rebuilt from the values that were published of it.

use super::machine::{Machine, Module, Unloaded};

pub const NT: u64 = 0xffff_f806_5340_0000;
pub const DRIVER: u64 = 0xffff_f806_7143_0000;
pub const ADDRESS: u64 = 0xffff_8405_0000_0074;
pub const FAULT: u64 = DRIVER + 0xe14ed;
const TRAP_FRAME: u64 = 0xffff_9405_8305_ec20;
const STACK: (u64, u64) = (0xffff_9405_8305_9000, 0xffff_9405_8306_0000);
const CONTENT_AREA: u64 = 0xffff_de8a_870a_8290;
const CONTENT_FILE: u64 = 0xffff_de8a_879b_29a0;
const THREAD: u64 = 0xffff_e402_fe86_8040;
const PROCESS: u64 = 0xffff_e402_f8e7_d040;
const PRCB: u64 = 0xffff_9680_3765_1180;

/// Child-SP, return address, four words, and the call site by its module: as printed.
pub const LISTING: [(u64, u64, [u64; 4], u64); 18] = [
    (0x8305e9f8, 0xfffff8065388c1e4, [0x50, ADDRESS, 0, TRAP_FRAME], NT + 0x3fd5a0),
    (0x8305ea00, 0xfffff80653662d8c, [0, 0, 0, ADDRESS], 0xfffff8065388c1e4),
    (
        0x8305eb00,
        0xfffff80653827529,
        [0xffffffff00000030, 0xffff8405af8351a2, 0xffff94058305f020, 0xffff94058305f020],
        0xfffff80653662d8c,
    ),
    (0x8305ec20, FAULT, [0, 0xffff94058305eeb0, 0xffff8405b0bcd00c, 0xffff8405b0bc505c], 0xfffff80653827529),
    (0x8305edb0, DRIVER + 0xb709e, [0, 0xe01f008d, 0xffff94058305f102, 0xfffff806716baaf8], FAULT),
    (0x8305ef50, DRIVER + 0xb8335, [0, 0x10, 2, 0xffff8405b0bc501c], DRIVER + 0xb709e),
    (0x8305f080, DRIVER + 0x2f20c7, [0, 0, 0xffff94058305f382, 0], DRIVER + 0xb8335),
    (0x8305f1b0, DRIVER + 0x2eec44, [0xffff94058305f668, 0xfffff80653eac2b0, 0xffff8405afad4ac0, 3], DRIVER + 0x2f20c7),
    (
        0x8305f430,
        DRIVER + 0x67a31,
        [0x303b, 0xffff94058305f6f0, 0xffff8405afb1d140, 0xffffe402ff251098],
        DRIVER + 0x2eec44,
    ),
    (
        0x8305f5f0,
        DRIVER + 0x66aee,
        [0xffff8405afb1d140, 0xfffff80671541e7e, 0x67a0, 0xfffff8067168f8f0],
        DRIVER + 0x67a31,
    ),
    (
        0x8305f760,
        DRIVER + 0x6685b,
        [0xffff94058305f9d8, 0xffff8405afb1d230, 0xffff8405afb1d140, 0xffffe402fe8644f8],
        DRIVER + 0x66aee,
    ),
    (0x8305f7d0, DRIVER + 0x1099ea, [0x4a8415aa, 0xffff8eee1c68ca4f, 0, 0xffff84059e95fc30], DRIVER + 0x6685b),
    (0x8305f850, DRIVER + 0x5efbb, [0, 0xffff94058305fa59, 0xffffe402fe864050, 0xffffe402fede62c0], DRIVER + 0x1099ea),
    (0x8305f980, DRIVER + 0x5edd7, [0xffffffffffffffa1, 0xfffff8067152e5c1, 0xffffe402fe864050, 1], DRIVER + 0x5efbb),
    (0x8305fac0, DRIVER + 0xfe681, [0, 0xfffff80653789272, 2, 0xffffe402fede62c0], DRIVER + 0x5edd7),
    (0x8305faf0, 0xfffff80653707287, [THREAD, 0x80, 0xfffff8067152e510, 0x006fe47fb19bbdff], DRIVER + 0xfe681),
    (0x8305fb30, 0xfffff8065381b8e4, [PRCB, THREAD, 0xfffff80653707230, 0], 0xfffff80653707287),
    (0x8305fb80, 0, [STACK.1, STACK.0, 0, 0], 0xfffff8065381b8e4),
];

/// Where KiStartSystemThread's own frame ends.
const LAST_SP: u64 = 0xffff_9405_8305_fbc0;

pub fn sp(low: u64) -> u64 {
    0xffff_9405_0000_0000 | low
}

/// Registers of the trap frame, as printed, by their place in it.
const TRAP_REGISTERS: [(u64, u64); 12] = [
    (0x30, 0xffff94058305f200),
    (0x38, 3),
    (0x40, 0xffff94058305f1d0),
    (0x48, ADDRESS),
    (0x50, 0),
    (0x58, 0),
    (0x60, 0x14),
    (0xd0, ADDRESS),
    (0x158, 0xffff94058305eeb0),
    (0x168, FAULT),
    (0x178, 0x50282),
    (0x180, 0xffff94058305edb0),
];

/// Code from csagent+0xe14d9 on, as printed.
pub const CODE: [&[u8]; 16] = [
    &[0x04, 0xd8],
    &[0x75, 0x0b],
    &[0x4d, 0x85, 0xc0],
    &[0x74, 0x12],
    &[0x45, 0x0f, 0xb7, 0x08],
    &[0xeb, 0x08],
    &[0x4d, 0x85, 0xc0],
    &[0x74, 0x07],
    &[0x45, 0x8b, 0x08],
    &[0x4d, 0x8b, 0x50, 0x08],
    &[0x4d, 0x8b, 0xc2],
    &[0x48, 0x8d, 0x4d, 0x90],
    &[0x48, 0x8b, 0xd6],
    &[0xe8, 0x21, 0x2c, 0x00, 0x00],
    &[0x45, 0x33, 0xd2],
    &[0xc3],
];

/// A CONTEXT of x64 with the given instruction, stack pointer and r9.
pub fn context(ip: u64, sp: u64, r9: u64) -> Vec<u8> {
    let mut context = vec![0; 1232];
    let mut put = |at: usize, bytes: &[u8]| context[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x30, &0x10_001f_u32.to_le_bytes());
    put(0x34, &0x1f80_u32.to_le_bytes());
    put(0x118, &0x1f80_u32.to_le_bytes());
    put(0x38, &0x10_u16.to_le_bytes());
    put(0x42, &0x18_u16.to_le_bytes());
    put(0x44, &0x282_u32.to_le_bytes());
    put(0x98, &sp.to_le_bytes());
    put(0xc0, &r9.to_le_bytes());
    put(0xf8, &ip.to_le_bytes());
    context
}

/// A kernel with its records: debugger's block, processors, thread, process, modules. `nt` is the kernel's base.
pub fn with_kernel(mut machine: Machine, nt: u64) -> Machine {
    let (block, variables) = (nt + 0xc00b20, nt + 0xcfb000);
    machine.build = 19041;
    machine.processors = 4;
    machine.module_list = nt + 0xc2a390;
    machine.debugger_block = block;
    (machine.prcb, machine.thread, machine.process) = (PRCB, THREAD, PROCESS);
    machine.put_module_list(0xffff_e402_f8c0_0000);
    machine.put(block + 0x10, b"KDBG");
    machine.put(block + 0x14, &0x380_u32.to_le_bytes());
    machine.put_u64(block + 0x18, nt);
    machine.put_u64(block + 0x48, machine.module_list);
    machine.put_u64(block + 0x218, variables);
    machine.put_u64(block + 0x220, variables + 0x100);
    machine.put_u64(block + 0x228, variables + 0x108);
    machine.put_u64(block + 0x120, variables + 0x200);
    machine.put_u64(block + 0x128, variables + 0x208);
    machine.put_u64(variables + 0x208, 0xffff_8500_0000_0000);
    machine.put_u64(variables + 0x200, 0xffff_8405_0000_0000);
    machine.put_unloaded(variables + 0x100, 0xffff_e402_f8d0_0000);
    // Three processors are idle; the fourth ran the thread that crashed.
    for number in 0..4_u64 {
        let crashed = number == 2;
        let prcb = if crashed { PRCB } else { 0xffff_9680_3700_0180 + number * 0x1_0000 };
        let thread = if crashed { THREAD } else { 0xffff_e402_f900_0040 + number * 0x1000 };
        machine.put_u64(variables + number * 8, prcb);
        machine.put_u64(prcb + 8, thread);
        machine.put(prcb + 0x24, &(number as u32).to_le_bytes());
        machine.put_u64(prcb + 0x3f8, 0);
        let stack = if crashed { machine.stack } else { (0xffff_9405_9000_0000, 0xffff_9405_9000_6000) };
        machine.put_u64(thread + 0x30, stack.0);
        machine.put_u64(thread + 0x38, stack.1);
        machine.put_u64(thread + 0xb8, PROCESS);
        machine.put_u64(thread + 0x5f8, 0);
    }
    machine.put(PROCESS + 0x5a8, b"System\0");
    machine.put_u64(PROCESS + 0x5f8, 0);
    machine
}

/// The machine of the listing.
pub fn machine() -> Machine {
    let drivers = r"\??\C:\Windows\system32\drivers\CrowdStrike\csagent.sys";
    let module = |path, base, size, timestamp, checksum| Module { path, base, size, timestamp, checksum };
    let mut machine = Machine {
        bugcheck: 0x50,
        parameters: [ADDRESS, 0, FAULT, 2],
        context: context(LISTING[0].3, sp(LISTING[0].0), TRAP_FRAME),
        exception: (0x8000_0003, LISTING[0].3),
        modules: vec![
            module(r"\SystemRoot\system32\ntoskrnl.exe", NT, 0x104_6000, 0, 0),
            module(drivers, DRIVER, 0x43_c000, 0, 0),
            module(
                r"\SystemRoot\system32\DRIVERS\CSFirmwareAnalysis.sys",
                0xfffff80658920000,
                0x1c000,
                0x65f888ae,
                0x2020e,
            ),
            module(
                r"\??\C:\Windows\system32\drivers\CrowdStrike\cspcm4.sys",
                0xfffff80671870000,
                0xd000,
                0x668c9362,
                0x12f69,
            ),
        ],
        unloaded: vec![Unloaded { name: "CSBoot.sys", start: 0xfffff806587d0000, end: 0xfffff806587dc000 }],
        stack: STACK,
        self_map: 0x157,
        given: [(0x108, 0x0a00_0002_7720_0863)].into(),
        ..Machine::default()
    };
    for page in (STACK.0..STACK.1).step_by(0x1000) {
        machine.fill(page, 0);
    }
    for (frame, next) in LISTING.iter().zip(LISTING.iter().skip(1).map(|next| sp(next.0)).chain([LAST_SP])) {
        if frame.1 != FAULT {
            machine.put_u64(next - 8, frame.1);
        }
        for (at, word) in (next..).step_by(8).zip(frame.2) {
            machine.put_u64(at, word);
            // Words that point at code by chance: their pages are there, and what is before them is no call.
            if (NT..NT + 0x104_6000).contains(&word) || (DRIVER..DRIVER + 0x43_c000).contains(&word) {
                machine.fill(word, 0xcc);
                machine.fill(word - 8, 0xcc);
            }
        }
    }
    for (at, value) in TRAP_REGISTERS {
        machine.put_u64(TRAP_FRAME + at, value);
    }
    machine.put(TRAP_FRAME + 0x170, &0x10_u16.to_le_bytes());
    machine.put(TRAP_FRAME + 0x188, &0x18_u16.to_le_bytes());
    for frame in LISTING.iter().filter(|frame| frame.1 != 0) {
        machine.fill(frame.1, 0xcc);
        machine.put(frame.1 - 5, &[0xe8, 0x10, 0, 0, 0]);
    }
    // The trap frame's instruction is no return address: the listing has the bytes before it.
    machine.put(DRIVER + 0xe14d9, &CODE.concat());
    put_mapped(
        &mut machine,
        CONTENT_FILE,
        r"\Windows\System32\drivers\CrowdStrike\C-00000291-00000000-00000032.sys",
        CONTENT_AREA,
    );
    // Not listed: a file of somebody else's, and one whose control area says nothing of it.
    put_mapped(&mut machine, CONTENT_FILE + 0x1000, r"\Windows\System32\config\SOFTWARE", CONTENT_AREA + 0x1000);
    let stale = CONTENT_FILE + 0x2000;
    put_mapped(&mut machine, stale, r"\Windows\System32\drivers\CrowdStrike\stale.sys", CONTENT_AREA + 0x2000);
    machine.put_u64(CONTENT_AREA + 0x2040, CONTENT_FILE | 3);
    with_kernel(machine, NT)
}

/// A file object with its name, mapped as data by a control area.
fn put_mapped(machine: &mut Machine, file: u64, path: &str, area: u64) {
    let sections = (file & !0xfff) | 0xb00;
    machine.put(file, &[5, 0, 0xd8, 0]);
    machine.put_u64(file + 0x28, sections);
    machine.put_u64(sections, area);
    machine.put_u64(sections + 0x10, 0);
    machine.put_name(file + 0x58, (file & !0xfff) | 0xc00, path);
    // The low bits count references.
    machine.put_u64(area + 0x40, file | 7);
}

/// The same machine with its page tables close together, so that a dump is small enough to mutate thousands of times.
pub fn compact() -> Machine {
    Machine { given: [(0x108, 0x0a00_0000_001a_f863)].into(), ..machine() }
}

/// Pieces that the small dump of the machine keeps: 256 bytes around what the stack points at, and the page of the fault.
pub fn pieces() -> Vec<(u64, usize)> {
    let is_code = |word: &u64| (NT..NT + 0x104_6000).contains(word) || (DRIVER..DRIVER + 0x43_c000).contains(word);
    let returns = LISTING.iter().map(|frame| frame.1);
    let chance = LISTING.iter().flat_map(|frame| frame.2);
    // Within one page: what lies behind its end need not be there.
    let around = |word: u64| (word - 0x80, 0x80 + (0x1000 - word as usize % 0x1000).min(0x80));
    let mut pieces: Vec<(u64, usize)> = returns.chain(chance).filter(is_code).map(around).collect();
    pieces.push((FAULT & !0xfff, 0x1000));
    pieces
}
