//! One crash of our own, written as a minidump of Linux or Windows and as an ELF core: a program whose `frob` writes behind a null pointer.
//!
//! Written to the formats' own layout, without the library that reads them.

/// Where the program lies, and its name.
pub const BASE: u64 = 0x40_0000;
pub const MODULE: &str = "/opt/agent/agent";
/// Where a file of data is mapped.
const DATA: u64 = 0x7f00_0000_0000;
/// The instruction that faults, and what its two callers return to.
pub const FAULT: u64 = BASE + 0x1105;
pub const CALLER: u64 = BASE + 0x1210;
pub const MAIN: u64 = BASE + 0x1305;
/// The stack: its pointer, and how much of it there is.
pub const STACK: u64 = 0x7ffd_0000_1000;
const STACK_BYTES: usize = 0x400;
/// A null pointer with a member's offset.
pub const ADDRESS: u64 = 0x10;
/// The number in the program's build id; what a symbol file's folder is called by it.
const BUILD_ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub const SYMBOLS: &str = "agent/030201000504070608090A0B0C0D0E0F0/agent.sym";
/// Names of the program's functions, as Breakpad's tools write them.
pub const SYMBOL_FILE: &str = "MODULE Linux x86_64 030201000504070608090A0B0C0D0E0F0 agent\n\
FILE 0 src/frob.c\nFUNC 1100 40 0 frob\n1100 40 12 0\nFUNC 1200 40 0 parse\n1200 40 34 0\nFUNC 1300 40 0 main\n1300 40 56 0\n";

/// The program's first pages: a header, and code with a fault and two calls.
fn image() -> Vec<u8> {
    let mut image = vec![0x90_u8; 0x2000];
    image[..4].copy_from_slice(b"\x7fELF");
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at - BASE).expect("small");
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(FAULT, &[0x89, 0x48, 0x10]); // mov [rax+10h], ecx
    put(CALLER - 5, &[0xe8, 0xf0, 0xfe, 0xff, 0xff]);
    put(MAIN - 5, &[0xe8, 0xfb, 0xfe, 0xff, 0xff]);
    image
}

/// The stack: a chain of frame pointers through both callers, and words that are not calls.
fn stack() -> Vec<u8> {
    let mut stack = vec![0_u8; STACK_BYTES];
    let mut put = |at: usize, value: u64| stack[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0x08, BASE + 0x1108); // in the module, no call before it
    put(0x10, 0x5ec2_e75e_c2e7); // a secret
    put(0x20, STACK + 0x60); // saved rbp
    put(0x28, CALLER);
    put(0x60, 0);
    put(0x68, MAIN);
    stack
}

/// Registers in the order of a Windows context: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8..r15, rip.
fn registers() -> [u64; 17] {
    let mut registers = [0x1111_u64; 17];
    registers[0] = 0;
    registers[4] = STACK;
    registers[5] = STACK + 0x20;
    registers[16] = FAULT;
    registers
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn here(&self) -> u32 {
        u32::try_from(self.0.len()).expect("small")
    }

    /// Adds bytes; gives their size and place, as minidumps have it.
    fn part(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = self.here();
        self.0.extend_from_slice(bytes);
        (u32::try_from(bytes.len()).expect("small"), at)
    }

    fn text(&mut self, text: &str) -> u32 {
        let at = self.here();
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.u32(u32::try_from(units.len()).expect("small"));
        self.0.extend(units);
        self.u16(0);
        at
    }
}

/// Which system writes the minidump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Linux,
    Windows,
}

/// A program in memory.
pub struct Program {
    pub name: String,
    /// What is mapped at `BASE`.
    pub image: Vec<u8>,
    /// What ties it to its symbols.
    pub record: Vec<u8>,
    /// The instruction that faults.
    pub ip: u64,
}

impl Program {
    /// The one whose `frob` faults.
    fn frob(system: System) -> Self {
        let name = if system == System::Linux { MODULE } else { "C:\\agent\\agent.exe" }.to_owned();
        let mut record = 0x4270_454c_u32.to_le_bytes().to_vec();
        record.extend(BUILD_ID);
        Self { name, image: image(), record, ip: FAULT }
    }
}

/// The crash, with streams beside its own.
pub fn minidump(system: System, others: &[(u32, &[u8])]) -> Vec<u8> {
    minidump_of(system, &Program::frob(system), others)
}

/// The same of another program.
pub fn minidump_of(system: System, program: &Program, others: &[(u32, &[u8])]) -> Vec<u8> {
    let mut streams: Vec<(u32, Vec<u8>)> = Vec::new();
    let count = 7 + others.len();
    let mut dump = Bytes(vec![0; 32 + 12 * count]);
    let mut context = vec![0_u8; 1232];
    context[0x30..0x34].copy_from_slice(&0x0010_001f_u32.to_le_bytes());
    for (number, value) in registers().into_iter().enumerate() {
        context[0x78 + number * 8..0x80 + number * 8].copy_from_slice(&value.to_le_bytes());
    }
    context[0xf8..0x100].copy_from_slice(&program.ip.to_le_bytes());
    let context = dump.part(&context);
    let stack_part = dump.part(&stack());
    let image_part = dump.part(&program.image);
    let csd = dump.text(if system == System::Linux { "Linux 6.1.0 #1 x86_64" } else { "Service Pack 1" });
    let name = dump.text(&program.name);
    let record = dump.part(&program.record);

    let mut stream = Bytes::default();
    [9, 6, 0].into_iter().for_each(|value| stream.u16(value)); // amd64
    stream.u16(1);
    let platform = if system == System::Linux { 0x8201 } else { 2 };
    [6, 1, 0, platform, csd, 0].into_iter().for_each(|value| stream.u32(value));
    stream.0.resize(56, 0);
    streams.push((7, stream.0));

    let mut stream = Bytes::default();
    [1, 77, 0, 0, 0].into_iter().for_each(|value| stream.u32(value));
    stream.u64(0);
    stream.u64(STACK);
    [stack_part, context].into_iter().for_each(|(size, at)| {
        stream.u32(size);
        stream.u32(at);
    });
    streams.push((3, stream.0));

    let mut stream = Bytes::default();
    stream.u32(1);
    stream.u64(BASE);
    let size = u32::try_from(program.image.len()).expect("small");
    [size, 0, 0x6501_0203, name].into_iter().for_each(|value| stream.u32(value));
    stream.0.resize(4 + 24 + 52, 0);
    stream.u32(record.0);
    stream.u32(record.1);
    stream.0.resize(4 + 108, 0);
    streams.push((4, stream.0));

    let mut stream = Bytes::default();
    stream.u32(2);
    for (address, (size, at)) in [(BASE, image_part), (STACK, stack_part)] {
        stream.u64(address);
        stream.u32(size);
        stream.u32(at);
    }
    streams.push((5, stream.0));

    let mut stream = Bytes::default();
    stream.u32(77);
    stream.u32(0);
    let linux = system == System::Linux;
    stream.u32(if linux { 11 } else { 0xc000_0005 });
    stream.u32(u32::from(linux)); // SEGV_MAPERR
    stream.u64(0);
    stream.u64(if linux { ADDRESS } else { program.ip });
    stream.u32(if linux { 0 } else { 2 });
    stream.u32(0);
    stream.u64(1); // a write
    stream.u64(ADDRESS);
    stream.0.resize(8 + 152, 0);
    stream.u32(context.0);
    stream.u32(context.1);
    streams.push((6, stream.0));

    let mut stream = Bytes::default();
    [24, 1, 4242, 0, 0, 0].into_iter().for_each(|value| stream.u32(value));
    streams.push((15, stream.0));
    streams.push((0x4767_0006, b"agent\0--token=hunter2\0".to_vec()));
    streams.extend(others.iter().map(|(kind, bytes)| (*kind, bytes.to_vec())));

    let mut directory = Bytes::default();
    for (kind, bytes) in streams {
        let (size, at) = dump.part(&bytes);
        [kind, size, at].into_iter().for_each(|value| directory.u32(value));
    }
    let mut head = Bytes(b"MDMP".to_vec());
    [0xa793, u32::try_from(count).expect("small"), 32, 0, 0, 0, 0].into_iter().for_each(|value| head.u32(value));
    dump.0[..32].copy_from_slice(&head.0);
    dump.0[32..32 + 12 * count].copy_from_slice(&directory.0);
    dump.0
}

/// The minidump with annotations beside it, as Crashpad's stream has them. `minidump` has left an empty one for it.
pub fn annotated(system: System, notes: &[(&str, &str)]) -> Vec<u8> {
    const CRASHPAD: u32 = 0x4350_0001;
    let mut dump = Bytes(minidump(system, &[(CRASHPAD, &[0; 52])]));
    let mut text = |text: &str| {
        dump.0.resize(dump.0.len().next_multiple_of(4), 0);
        let at = dump.here();
        dump.u32(u32::try_from(text.len()).expect("small"));
        dump.0.extend(text.bytes().chain([0]));
        at
    };
    let places: Vec<u32> = notes.iter().flat_map(|(name, value)| [text(name), text(value)]).collect();
    let mut dictionary = Bytes::default();
    dictionary.u32(u32::try_from(notes.len()).expect("small"));
    places.iter().for_each(|place| dictionary.u32(*place));
    dump.0.resize(dump.0.len().next_multiple_of(4), 0);
    let (size, at) = dump.part(&dictionary.0);
    let entry = (32..).step_by(12).find(|entry| dump.0[*entry..*entry + 4] == CRASHPAD.to_le_bytes()).expect("there");
    let stream = u32::from_le_bytes(dump.0[entry + 8..entry + 12].try_into().expect("four")) as usize;
    for (place, value) in [(0, 1), (36, size), (40, at)] {
        dump.0[stream + place..stream + place + 4].copy_from_slice(&value.to_le_bytes());
    }
    dump.0
}

fn note(kind: u32, payload: &[u8]) -> Vec<u8> {
    let mut note = Bytes::default();
    [5, u32::try_from(payload.len()).expect("small"), kind].into_iter().for_each(|value| note.u32(value));
    note.0.extend(b"CORE\0\0\0\0");
    note.0.extend(payload);
    note.0.resize(note.0.len().next_multiple_of(4), 0);
    note.0
}

/// The same crash as the kernel's core of x86-64.
pub fn core() -> Vec<u8> {
    core_with(true)
}

/// As gdb writes it: without the program's code, which the program's file has, and beside it a file of data.
pub fn core_of_gdb() -> Vec<u8> {
    core_with(false)
}

fn core_with(has_code: bool) -> Vec<u8> {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rip] = registers();
    let mut status = Bytes::default();
    [11, 0, 0, 11].into_iter().for_each(|value| status.u32(value));
    status.0.resize(32, 0);
    status.u32(77);
    status.0.resize(112, 0);
    for value in [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, 0, rip, 0x33, 0x202, rsp] {
        status.u64(value);
    }
    status.0.resize(336, 0);
    let mut process = vec![0_u8; 136];
    process[24..28].copy_from_slice(&4242_u32.to_le_bytes());
    process[40..45].copy_from_slice(b"agent");
    process[56..77].copy_from_slice(b"agent --token=hunter2");
    let mut signal = Bytes::default();
    [11, 0, 1, 0].into_iter().for_each(|value| signal.u32(value));
    signal.u64(ADDRESS);
    signal.0.resize(128, 0);
    let mut files = Bytes::default();
    let parts = [[BASE, BASE + 0x1000, 0], [BASE + 0x1000, BASE + 0x2000, 1], [DATA, DATA + 0x1000, 0]];
    files.u64(3);
    files.u64(4096);
    parts.into_iter().flatten().for_each(|value| files.u64(value));
    for path in [MODULE, MODULE, "/usr/lib/locale/locale-archive"] {
        files.0.extend(path.as_bytes());
        files.0.push(0);
    }
    let notes = [note(1, &status.0), note(3, &process), note(0x5349_4749, &signal.0), note(0x4649_4c45, &files.0)];
    let notes = notes.concat();

    // A header of its own in the program's page, for its build id.
    let mut image = image();
    let mut own = elf_header(1, 64);
    own.0[16] = 2;
    let id = note(3, &BUILD_ID);
    header(&mut own, 4, 4, 0x200, BASE + 0x200, id.len() as u64);
    image[..own.0.len()].copy_from_slice(&own.0);
    image[0x200..0x200 + id.len()].copy_from_slice(&id);

    let mut core = elf_header(3, 64);
    let stack = stack();
    let flags = if has_code { 5 } else { 4 };
    image.truncate(if has_code { 0x2000 } else { 0x1000 });
    let sizes = [notes.len(), image.len(), stack.len()].map(|size| size as u64);
    let mut at = 64 + 3 * 56;
    for (kind, flags, address, size) in [(4, 4, 0, sizes[0]), (1, flags, BASE, sizes[1]), (1, 6, STACK, sizes[2])] {
        header(&mut core, kind, flags, at, address, size);
        at += size;
    }
    [core.0, notes, image, stack].concat()
}

fn elf_header(segments: u16, table: u64) -> Bytes {
    let mut head = Bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec());
    [4, 62].into_iter().for_each(|value| head.u16(value)); // a core, of x86-64
    head.u32(1);
    [0, table, 0].into_iter().for_each(|value| head.u64(value));
    head.u32(0);
    [64, 56, segments, 0, 0, 0].into_iter().for_each(|value| head.u16(value));
    head
}

fn header(to: &mut Bytes, kind: u32, flags: u32, offset: u64, address: u64, size: u64) {
    to.u32(kind);
    to.u32(flags);
    [offset, address, 0, size, size, 0].into_iter().for_each(|value| to.u64(value));
}
