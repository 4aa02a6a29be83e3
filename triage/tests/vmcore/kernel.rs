//! A kernel that never ran, laid out in two megabytes: page tables, a log, symbols, types, unwind tables, a module, three tasks, and a
//! stack that came to a fault. Its structures have their members at places of their own, so that a reader that assumes one fails.

/// Where it is mapped, and where that lies in physical memory.
pub const BASE: u64 = 0xffff_ffff_8100_0000;
pub const PHYSICAL: u64 = 0x100_0000;
/// Size of its image in the core.
pub const SIZE: usize = 0x2_0000;
/// Where its own page of VMCOREINFO lies in the image.
pub const VMCOREINFO_AT: u64 = 0x1_e000;
/// Where the code of the module lies.
const MODULE: u64 = BASE + 0x1_8000;
const MODULE_SIZE: u64 = 0x1000;

/// A made kernel.
pub struct Kernel {
    pub image: Vec<u8>,
    pub vmcoreinfo: String,
    /// Notes as they stand in a core.
    pub notes: Vec<u8>,
}

/// What its log says.
pub const LOG: [&str; 12] = [
    "Linux version 6.12.1-frob (frob@frob) #1 SMP",
    "BUG: kernel NULL pointer dereference, address: 0000000000000018",
    "#PF: supervisor write access in kernel mode",
    "#PF: error_code(0x0002) - not-present page",
    "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "CPU: 0 UID: 0 PID: 77 Comm: frobd Tainted: G           OE      6.12.1-frob #1",
    "RIP: 0010:frob_write+0x8/0x20 [frob]",
    "Call Trace:",
    " <TASK>",
    " frob_ioctl+0x10/0x40 [frob]\n vfs_frob+0x10/0x40",
    " </TASK>",
    "Kernel panic - not syncing: Fatal exception",
];

/// Code of the kernel: name and offset of each function, each of 0x40 bytes.
const CODE: [(&str, u64); 5] =
    [("_stext", 0x1000), ("delay_frob", 0x1040), ("panic", 0x1080), ("asm_exc_frob", 0x10c0), ("vfs_frob", 0x1100)];
const END_OF_CODE: u64 = 0x1140;

struct Layout {
    image: Vec<u8>,
    next: usize,
    symbols: Vec<(String, u64)>,
    lines: String,
}

impl Layout {
    fn at(&mut self, address: u64, bytes: &[u8]) {
        let from = usize::try_from(address - BASE).expect("in the image");
        self.image[from..from + bytes.len()].copy_from_slice(bytes);
    }

    fn words(&mut self, address: u64, words: &[u64]) {
        self.at(address, &words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
    }

    /// Room for so many bytes.
    fn room(&mut self, size: usize) -> u64 {
        let at = BASE + u64::try_from(self.next).expect("small");
        self.next = (self.next + size).next_multiple_of(64);
        assert!(self.next < 0x1_4000, "the image is full");
        at
    }

    fn place(&mut self, bytes: &[u8]) -> u64 {
        let at = self.room(bytes.len());
        self.at(at, bytes);
        at
    }

    fn symbol(&mut self, name: &str, address: u64) {
        self.symbols.push((name.to_owned(), address));
    }

    fn line(&mut self, line: &str) {
        self.lines.push_str(line);
        self.lines.push('\n');
    }
}

/// Makes it, with tables of so many levels.
pub fn kernel(levels: u32) -> Kernel {
    let mut layout = Layout { image: vec![0; SIZE], next: 0x2000, symbols: Vec::new(), lines: String::new() };
    layout.line("OSRELEASE=6.12.1-frob");
    layout.line("BUILD-ID=00112233");
    layout.line("KERNELOFFSET=0");
    page_tables(&mut layout, levels);
    log(&mut layout);
    code(&mut layout);
    let stack = stack(&mut layout);
    types(&mut layout);
    tasks(&mut layout);
    module(&mut layout);
    symbols(&mut layout);
    // The kernel keeps the text in a page of its own; the note is a copy.
    let text = layout.lines.clone();
    layout.at(BASE + VMCOREINFO_AT, text.as_bytes());
    let notes = notes(&layout.lines, stack);
    Kernel { image: layout.image, vmcoreinfo: layout.lines, notes }
}

/// One large page maps the image; the tables lie in it.
fn page_tables(layout: &mut Layout, levels: u32) {
    let physical = |address: u64| address - BASE + PHYSICAL;
    let tables: Vec<u64> = (0..u64::from(levels) - 1).map(|number| BASE + 0x1_4000 + number * 0x1000).collect();
    let slots = [8, 510, 511, 511];
    let mut entry = PHYSICAL | 0xe3;
    for (table, slot) in tables.iter().zip(slots) {
        layout.words(table + slot * 8, &[entry]);
        entry = physical(*table) | 0x63;
    }
    let top = tables.last().expect("tables");
    layout.line(&format!("SYMBOL(swapper_pg_dir)={top:x}"));
    layout.line("NUMBER(phys_base)=0");
    layout.line(&format!("NUMBER(pgtable_l5_enabled)={}", u8::from(levels == 5)));
}

/// The ring: 16 descriptors, 2 KiB of text that has wrapped once, and one record that was given up.
fn log(layout: &mut Layout) {
    const TEXT_BITS: u32 = 11;
    let (descriptors, infos) = (layout.room(16 * 24), layout.room(16 * 88));
    let text = layout.room(1 << TEXT_BITS);
    let first = 0x1_0000_0005_u64;
    let size = 1_u64 << TEXT_BITS;
    let mut position = 5 * size + size - 200;
    for (number, message) in (first..).zip(LOG) {
        let slot = number % 16;
        let length = u64::try_from(message.len()).expect("small");
        let mut block = (position, position + (8 + length).next_multiple_of(8));
        let mut from = position % size;
        if block.0 / size != block.1 / size && !block.1.is_multiple_of(size) {
            block.1 = block.1 / size * size + (8 + length).next_multiple_of(8);
            from = 0;
        }
        layout.at(text + from + 8, message.as_bytes());
        layout.words(descriptors + slot * 24, &[2 << 62 | number, block.0, block.1]);
        layout.words(infos + slot * 88 + 8, &[1_000_000_000 + number % 16 * 1_000_000]);
        layout.at(infos + slot * 88 + 16, &u16::try_from(length).expect("small").to_le_bytes());
        position = block.1;
    }
    let last = first + u64::try_from(LOG.len()).expect("small");
    layout.words(descriptors + last % 16 * 24, &[1 << 62 | last, 1, 1]);
    let ring = layout.room(0x80);
    layout.words(ring + 8, &[4, descriptors, infos, last, first]);
    layout.words(ring + 0x40, &[u64::from(TEXT_BITS), text]);
    let pointer = layout.place(&ring.to_le_bytes());
    layout.line(&format!("SYMBOL(prb)={pointer:x}"));
    for line in [
        "OFFSET(printk_ringbuffer.desc_ring)=8",
        "OFFSET(printk_ringbuffer.text_data_ring)=64",
        "OFFSET(prb_desc_ring.count_bits)=0",
        "OFFSET(prb_desc_ring.descs)=8",
        "OFFSET(prb_desc_ring.infos)=16",
        "OFFSET(prb_desc_ring.head_id)=24",
        "OFFSET(prb_desc_ring.tail_id)=32",
        "OFFSET(atomic_long_t.counter)=0",
        "SIZE(prb_desc)=24",
        "OFFSET(prb_desc.state_var)=0",
        "OFFSET(prb_desc.text_blk_lpos)=8",
        "OFFSET(prb_data_blk_lpos.begin)=0",
        "OFFSET(prb_data_blk_lpos.next)=8",
        "SIZE(printk_info)=88",
        "OFFSET(printk_info.ts_nsec)=8",
        "OFFSET(printk_info.text_len)=16",
        "OFFSET(prb_data_ring.size_bits)=0",
        "OFFSET(prb_data_ring.data)=8",
    ] {
        layout.line(line);
    }
}

/// An entry of the unwind tables: the caller's stack from a register, and how it was come to.
fn orc(sp_offset: i16, bits: u16) -> Vec<u8> {
    [sp_offset.to_le_bytes(), 0_i16.to_le_bytes(), bits.to_le_bytes()].concat()
}

/// From the stack pointer, by a call; the same with all registers saved; the start of a stack.
const CALL: u16 = 2 << 8 | 5;
const SAVED: u16 = 3 << 8 | 5;
const END: u16 = 1 << 8;

/// Tables for functions at these addresses.
fn unwind(layout: &mut Layout, entries: &[(u64, i16, u16)]) -> (u64, u64, u64) {
    let addresses = layout.room(entries.len() * 4);
    for ((function, _, _), at) in entries.iter().zip((addresses..).step_by(4)) {
        let relative = i32::try_from(function.wrapping_sub(at) as i64).expect("near");
        layout.at(at, &relative.to_le_bytes());
    }
    let content: Vec<u8> = entries.iter().flat_map(|(_, offset, bits)| orc(*offset, *bits)).collect();
    (addresses, layout.place(&content), u64::try_from(entries.len()).expect("small"))
}

fn code(layout: &mut Layout) {
    for (name, offset) in CODE {
        // A call to itself, so that what returns behind it is behind a call.
        layout.at(BASE + offset + 0xb, &[0xe8, 0, 0, 0, 0]);
        layout.symbol(name, BASE + offset);
    }
    layout.symbol("_etext", BASE + END_OF_CODE);
    let entries = [(0x1040, 16, CALL), (0x1080, 24, CALL), (0x10c0, 8, SAVED), (0x1100, 16, CALL), (0x1130, 0, END)];
    let entries = entries.map(|(offset, sp, bits)| (BASE + offset, sp, bits));
    let (addresses, table, count) = unwind(layout, &entries);
    layout.symbol("__start_orc_unwind_ip", addresses);
    layout.symbol("__stop_orc_unwind_ip", addresses + count * 4);
    layout.symbol("__start_orc_unwind", table);
}

/// The stack from where the processor waits, through the panic and the exception, to its start; gives its lowest address.
fn stack(layout: &mut Layout) -> u64 {
    let stack = BASE + 0x1_c000;
    // delay_frob keeps one word, panic two, the exception one; then the saved registers.
    layout.words(stack, &[1, BASE + 0x1090, 2, 3, BASE + 0x10d0, 4]);
    let mut registers: Vec<u64> = (1..=21).collect();
    registers[10] = 0x18; // rax
    registers[16] = MODULE + 0x8; // rip
    registers[17] = 0x10; // cs
    registers[18] = 0x246;
    registers[19] = stack + 0x100; // rsp
    registers[20] = 0x18;
    layout.words(stack + 0x30, &registers);
    // frob_write keeps nothing, frob_ioctl one word, vfs_frob one, then comes the start.
    layout.words(stack + 0x100, &[MODULE + 0x50, 5, BASE + 0x1110, 6, BASE + 0x1138]);
    stack
}

/// A member: its name, where it lies in bits, and the number of its type.
type Member = (&'static str, u32, u32);

fn types(layout: &mut Layout) {
    let mut names = vec![0_u8];
    let mut words: Vec<u32> = vec![0, 1 << 24, 8, 64]; // 1: a number
    let mut structure = |name: &str, size: u32, members: &[Member]| {
        let mut named = |name: &str| {
            let at = u32::try_from(names.len()).expect("small");
            names.extend(name.as_bytes());
            names.push(0);
            at
        };
        let count = u32::try_from(members.len()).expect("small");
        words.extend([named(name), 1 << 31 | 4 << 24 | count, size]);
        for (name, bit, kind) in members {
            words.extend([named(name), *kind, *bit]);
        }
    };
    let bits = |number: u32, bit: u32| number << 24 | bit;
    structure("thread_struct", 32, &[("sp", 64, 1)]); // 2
    structure("mod_arch_specific", 24, &[("num_orcs", 0, 1), ("orc_unwind_ip", 64, 1), ("orc_unwind", 128, 1)]); // 3
    structure(
        "task_struct",
        0x180,
        &[
            ("thread", 0x100 * 8, 2),
            ("tasks", 0x20 * 8, 1),
            ("thread_node", 0x30 * 8, 1),
            ("signal", 0x40 * 8, 1),
            ("pid", 0x48 * 8, 1),
            ("comm", 0x50 * 8, 1),
            ("__state", 0x18 * 8, 1),
            ("cpu", 0x10 * 8, 1),
        ],
    );
    structure("signal_struct", 0x20, &[("thread_head", 0x8 * 8, 1)]);
    structure("inactive_task_frame", 0x18, &[("bp", 64, 1), ("ret_addr", 128, 1)]);
    structure("module_memory", 0x10, &[("base", 0, 1), ("size", 64, 1)]);
    structure(
        "module",
        0x200,
        &[
            ("list", 0x8 * 8, 1),
            ("name", 0x18 * 8, 1),
            ("taints", 0x60 * 8, 1),
            ("mem", 0x80 * 8, 1),
            ("kallsyms", 0x100 * 8, 1),
            ("arch", 0x110 * 8, 3),
        ],
    );
    structure("mod_kallsyms", 0x18, &[("symtab", 0, 1), ("num_symtab", 64, 1), ("strtab", 128, 1)]);
    structure(
        "orc_entry",
        6,
        &[
            ("sp_offset", 0, 1),
            ("bp_offset", 16, 1),
            ("sp_reg", bits(4, 32), 1),
            ("bp_reg", bits(4, 36), 1),
            ("type", bits(3, 40), 1),
        ],
    );
    let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, size(&words), size(&words), size(&names)] {
        btf.extend(word.to_le_bytes());
    }
    btf.extend(words);
    btf.extend(names);
    let at = layout.place(&btf);
    layout.symbol("__start_BTF", at);
    layout.symbol("__stop_BTF", at + u64::from(size(&btf)));
}

/// The idle task, frobd which runs, and a thread of it which waits.
fn tasks(layout: &mut Layout) {
    let [idle, frobd, thread] = [0; 3].map(|_| layout.room(0x180));
    let [idle_signal, signal] = [0; 2].map(|_| layout.room(0x20));
    for (task, pid, name, state, signal) in
        [(idle, 0, "swapper/0", 0, idle_signal), (frobd, 77, "frobd", 0, signal), (thread, 78, "frob-wait", 2, signal)]
    {
        layout.words(task + 0x10, &[0, state]);
        layout.words(task + 0x40, &[signal, pid]);
        layout.at(task + 0x50, name.as_bytes());
    }
    layout.words(idle + 0x20, &[frobd + 0x20]);
    layout.words(frobd + 0x20, &[idle + 0x20]);
    layout.words(idle_signal + 8, &[idle + 0x30]);
    layout.words(idle + 0x30, &[idle_signal + 8]);
    layout.words(signal + 8, &[frobd + 0x30]);
    layout.words(frobd + 0x30, &[thread + 0x30]);
    layout.words(thread + 0x30, &[signal + 8]);
    layout.symbol("init_task", idle);
    let cpu = layout.place(&0_u64.to_le_bytes());
    layout.symbol("panic_cpu", cpu);
    let base = layout.room(0x40);
    layout.words(base + 0x20, &[frobd]);
    layout.symbol("pcpu_hot", 0x20);
    let bases = layout.place(&base.to_le_bytes());
    layout.symbol("__per_cpu_offset", bases);
}

fn module(layout: &mut Layout) {
    let functions = [("frob_write", 0x0), ("frob_ioctl", 0x40)];
    layout.at(MODULE + 0x8, &[0xc7, 0x00, 7, 0, 0, 0]); // mov dword ptr [rax],7
    layout.at(MODULE + 0x4b, &[0xe8, 0, 0, 0, 0]);
    let mut names = vec![0_u8];
    let mut table = vec![0_u8; 24];
    for (name, offset) in functions {
        table.extend(u32::try_from(names.len()).expect("small").to_le_bytes());
        table.extend([2, 0, 1, 0]);
        table.extend((MODULE + offset).to_le_bytes());
        table.extend(0x40_u64.to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    let (table, names) = (layout.place(&table), layout.place(&names));
    let elf = layout.room(0x18);
    layout.words(elf, &[table, 3, names]);
    let entries = [(MODULE, 8, CALL), (MODULE + 0x40, 16, CALL)];
    let (addresses, entries, count) = unwind(layout, &entries);
    let module = layout.room(0x200);
    layout.at(module + 0x18, b"frob");
    layout.words(module + 0x60, &[1 << 12 | 1 << 13]);
    layout.words(module + 0x80, &[MODULE, MODULE_SIZE]);
    layout.words(module + 0x100, &[elf]);
    layout.words(module + 0x110, &[count, addresses, entries]);
    let head = layout.room(0x10);
    layout.words(head, &[module + 8]);
    layout.words(module + 8, &[head]);
    layout.symbol("modules", head);
}

/// The table of symbols; every letter is its own token but `T` + `frob`, which share one.
fn symbols(layout: &mut Layout) {
    let mut sorted = layout.symbols.clone();
    sorted.sort_by_key(|(_, address)| *address);
    let (mut packed, mut offsets, mut tokens, mut index) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, address) in &sorted {
        let letters: Vec<u8> = format!("T{name}").replace("frob", "\u{1}").into_bytes();
        packed.push(u8::try_from(letters.len()).expect("short"));
        packed.extend(letters);
        let offset = if *address < BASE { *address as u32 } else { !((address - BASE) as u32) };
        offsets.extend(offset.to_le_bytes());
    }
    for letter in 0..=255_u8 {
        index.extend(u16::try_from(tokens.len()).expect("small").to_le_bytes());
        match letter {
            1 => tokens.extend(b"frob"),
            letter => tokens.push(letter),
        }
        tokens.push(0);
    }
    let count = u32::try_from(sorted.len()).expect("small");
    for (name, content) in [
        ("kallsyms_offsets", offsets),
        ("kallsyms_relative_base", BASE.to_le_bytes().to_vec()),
        ("kallsyms_num_syms", count.to_le_bytes().to_vec()),
        ("kallsyms_names", packed),
        ("kallsyms_token_table", tokens),
        ("kallsyms_token_index", index),
    ] {
        let at = layout.place(&content);
        layout.line(&format!("SYMBOL({name})={at:x}"));
    }
}

fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
    let mut note = [size(name), size(content), kind].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    for part in [name, content] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// The registers of the processor, and VMCOREINFO.
fn notes(lines: &str, stack: u64) -> Vec<u8> {
    let mut status = vec![0_u8; 336];
    status[112 + 16 * 8..][..8].copy_from_slice(&(BASE + 0x1048).to_le_bytes());
    status[112 + 17 * 8..][..8].copy_from_slice(&0x10_u64.to_le_bytes());
    status[112 + 19 * 8..][..8].copy_from_slice(&stack.to_le_bytes());
    let mut notes = note(b"CORE\0", 1, &status);
    notes.extend(note(b"VMCOREINFO\0", 0, lines.as_bytes()));
    notes
}
