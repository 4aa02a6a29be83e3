//! A dead machine to write dumps of: pages by virtual address, page tables over them with a self-map, the kernel's records.

use std::collections::BTreeMap;

pub const PAGE: u64 = 0x1000;
/// Entries of tables: present, writable, accessed, dirty.
const TABLE_FLAGS: u64 = 0x0a00_0000_0000_0863;
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

/// A module of the list.
#[derive(Clone)]
pub struct Module {
    pub path: &'static str,
    pub base: u64,
    pub size: u32,
    pub timestamp: u32,
    pub checksum: u32,
}

/// An unloaded driver.
#[derive(Clone)]
pub struct Unloaded {
    pub name: &'static str,
    pub start: u64,
    pub end: u64,
}

/// The machine.
#[derive(Clone, Default)]
pub struct Machine {
    pub pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    pub is_arm64: bool,
    pub build: u32,
    pub bugcheck: u32,
    pub parameters: [u64; 4],
    pub context: Vec<u8>,
    /// Exception record of the header: code, address.
    pub exception: (u32, u64),
    pub modules: Vec<Module>,
    pub unloaded: Vec<Unloaded>,
    pub module_list: u64,
    pub debugger_block: u64,
    pub prcb: u64,
    pub thread: u64,
    pub process: u64,
    /// The saved part of the stack.
    pub stack: (u64, u64),
    pub processors: u32,
    /// Slot of the top table that names itself.
    pub self_map: u64,
    /// Entries of the top table that are given and not made.
    pub given: BTreeMap<u64, u64>,
}

impl Machine {
    /// Writes bytes, making pages where there are none.
    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.entry(at & !(PAGE - 1)).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[(at % PAGE) as usize] = *byte;
        }
    }

    /// Writes a 64-bit number.
    pub fn put_u64(&mut self, address: u64, number: u64) {
        self.put(address, &number.to_le_bytes());
    }

    /// Makes the page of an address and fills it, if it is not there.
    pub fn fill(&mut self, address: u64, byte: u8) {
        self.pages.entry(address & !(PAGE - 1)).or_insert_with(|| Box::new([byte; PAGE as usize]));
    }

    /// Bytes that are there.
    pub fn get(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        let byte = |at: u64| Some(self.pages.get(&(at & !(PAGE - 1)))?[(at % PAGE) as usize]);
        (address..).take(size).map(byte).collect()
    }

    /// A UNICODE_STRING at an address, with its text behind `text`.
    pub fn put_name(&mut self, address: u64, text_at: u64, text: &str) {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let size = units.len() as u16;
        self.put(address, &size.to_le_bytes());
        self.put(address + 2, &size.to_le_bytes());
        self.put_u64(address + 8, text_at);
        self.put(text_at, &units);
    }

    /// Writes the ring of modules, its entries from `at` on.
    pub fn put_module_list(&mut self, at: u64) {
        let entry = |number: u64| at + number * 0x400;
        let modules = self.modules.clone();
        let count = modules.len() as u64;
        let ring = |number: u64| if number == count { self.module_list } else { entry(number) };
        let (first, last) = (ring(0), entry(count - 1));
        let links: Vec<(u64, u64)> = (0..count)
            .map(|number| (ring(number + 1), if number == 0 { self.module_list } else { entry(number - 1) }))
            .collect();
        self.put_u64(self.module_list, first);
        self.put_u64(self.module_list + 8, last);
        for ((number, module), (next, back)) in (0..).zip(&modules).zip(links) {
            let record = entry(number);
            self.put_u64(record, next);
            self.put_u64(record + 8, back);
            self.put_u64(record + 0x30, module.base);
            self.put(record + 0x40, &module.size.to_le_bytes());
            self.put_name(record + 0x48, record + 0x100, module.path);
            let short = module.path.rsplit('\\').next().expect("a name");
            self.put_name(record + 0x58, record + 0x300, short);
            self.put(record + 0x78, &module.checksum.to_le_bytes());
            self.put(record + 0x9c, &module.timestamp.to_le_bytes());
        }
    }

    /// Writes the table of unloaded drivers and the variables that lead to it.
    pub fn put_unloaded(&mut self, variables: u64, table: u64) {
        self.put_u64(variables, table);
        self.put_u64(variables + 8, self.unloaded.len() as u64);
        for (number, driver) in (0..).zip(self.unloaded.clone()) {
            let entry = table + number * 0x28;
            self.put_name(entry, table + 0x800 + number * 0x40, driver.name);
            self.put_u64(entry + 0x10, driver.start);
            self.put_u64(entry + 0x18, driver.end);
        }
    }

    /// Physical pages: every page of the machine and the tables over them, by page frame number, and the top table's address.
    pub fn physical(&self) -> (u64, BTreeMap<u64, Vec<u8>>) {
        let mut tables = Tables { root: 0x1ad, next: 0x1000, pages: BTreeMap::new() };
        tables.pages.insert(tables.root, vec![0; PAGE as usize]);
        for (slot, entry) in &self.given {
            tables.set(tables.root, *slot, *entry);
            tables.pages.insert((entry & FRAME_MASK) / PAGE, vec![0; PAGE as usize]);
        }
        tables.set(tables.root, self.self_map, (tables.root * PAGE) | TABLE_FLAGS);
        for (address, page) in &self.pages {
            let frame = tables.fresh(page.to_vec());
            let mut table = tables.root;
            for level in (1..4).rev() {
                let slot = (address >> (12 + 9 * level)) & 511;
                table = match tables.get(table, slot) {
                    0 => {
                        let made = tables.fresh(vec![0; PAGE as usize]);
                        tables.set(table, slot, (made * PAGE) | TABLE_FLAGS);
                        made
                    }
                    entry => (entry & FRAME_MASK) / PAGE,
                };
            }
            tables.set(table, (address >> 12) & 511, (frame * PAGE) | TABLE_FLAGS);
        }
        (tables.root * PAGE, tables.pages)
    }
}

struct Tables {
    root: u64,
    next: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Tables {
    fn fresh(&mut self, page: Vec<u8>) -> u64 {
        // Gaps between frames, so that an index that ignores them is found out.
        self.next += 1 + self.next % 3;
        self.pages.insert(self.next, page);
        self.next
    }

    fn set(&mut self, table: u64, slot: u64, entry: u64) {
        let at = slot as usize * 8;
        self.pages.get_mut(&table).expect("a table")[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }

    fn get(&self, table: u64, slot: u64) -> u64 {
        let at = slot as usize * 8;
        u64::from_le_bytes(self.pages[&table][at..at + 8].try_into().expect("eight bytes"))
    }
}
