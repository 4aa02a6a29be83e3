//! The kernel's own table of symbols. Names are stored as tokens: a byte stands for up to some letters that are frequent, and the first
//! letter of a name is the symbol's type. Since 6.0 VMCOREINFO says where the parts of the table lie.

use super::vmcoreinfo::Vmcoreinfo;
use crate::machine::bytes::{u16_at, u32_at, u64_at};
use crate::machine::memory::Memory;

/// Symbols, at most: twenty times what a kernel has.
const SYMBOLS_MAX: u32 = 4 << 20;
/// Names as tokens, at most.
const NAMES_BYTES_MAX: u64 = 64 << 20;
/// Tokens: one for each value of a byte.
const TOKENS: usize = 256;
/// All tokens together are some 1 KiB.
const TOKEN_TABLE_BYTES: usize = 16 << 10;
/// Longest name; the kernel allows 512 bytes.
const NAME_BYTES_MAX: usize = 1024;
/// All names together, at most.
const NAMES_TOTAL_BYTES_MAX: usize = 256 << 20;

/// A symbol: where it begins, and its name's bytes.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    name_at: u32,
    name_size: u16,
}

/// The table, sorted by address.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    sorted: Vec<Symbol>,
    names: Vec<u8>,
    code: Vec<(u64, u64)>,
}

impl Symbols {
    /// Reads the table.
    pub(super) fn read(memory: &Memory<'_>, lines: &Vmcoreinfo) -> Option<Self> {
        let symbol = |name: &str| lines.symbol(name);
        let names_at = symbol("kallsyms_names")?;
        let (token_table, token_index) = (symbol("kallsyms_token_table")?, symbol("kallsyms_token_index")?);
        let offsets_at = symbol("kallsyms_offsets")?;
        let base = memory.u64_at(symbol("kallsyms_relative_base")?)?;
        let count = memory.u32_at(symbol("kallsyms_num_syms")?)?.min(SYMBOLS_MAX);
        let tokens = tokens(memory, token_table, token_index)?;
        // What lies behind the names tells where they end.
        let end = [token_table, token_index, offsets_at].into_iter().filter(|at| *at > names_at).min();
        let size = end?.saturating_sub(names_at).min(NAMES_BYTES_MAX);
        let packed = memory.some(names_at, usize::try_from(size).ok()?);
        let count = usize::try_from(count).ok()?.min(packed.len());
        let offsets = memory.some(offsets_at, count.checked_mul(4)?);
        let mut table = Self::default();
        table.expand(&packed, &tokens, &addresses(&offsets, base));
        table.sorted.sort_by_key(|symbol| symbol.address);
        let range = |from: &str, to: &str| Some((table.address(from)?, table.address(to)?));
        table.code = [range("_stext", "_etext"), range("_sinittext", "_einittext")].into_iter().flatten().collect();
        (!table.sorted.is_empty()).then_some(table)
    }

    /// Writes out the names of as many symbols as there are addresses.
    fn expand(&mut self, packed: &[u8], tokens: &[Vec<u8>], addresses: &[u64]) {
        let mut at = 0_usize;
        for address in addresses {
            let Some((size, content)) = length(packed, at) else { return };
            let end = content.saturating_add(size);
            let Some(codes) = packed.get(content..end) else { return };
            at = end;
            let name_at = self.names.len();
            for code in codes {
                self.names.extend(tokens.get(usize::from(*code)).map(Vec::as_slice).unwrap_or_default());
                if self.names.len().saturating_sub(name_at) > NAME_BYTES_MAX {
                    break;
                }
            }
            // The first letter is the type.
            let first = name_at.saturating_add(1).min(self.names.len());
            let size = self.names.len().saturating_sub(first);
            if let (Ok(name_at), Ok(name_size)) = (u32::try_from(first), u16::try_from(size)) {
                self.sorted.push(Symbol { address: *address, name_at, name_size });
            }
            if self.names.len() > NAMES_TOTAL_BYTES_MAX {
                return;
            }
        }
    }

    /// The address of a symbol by its name.
    pub(super) fn address(&self, name: &str) -> Option<u64> {
        self.sorted.iter().find(|symbol| self.bytes(symbol) == name.as_bytes()).map(|symbol| symbol.address)
    }

    /// Whether an address is in the kernel's own code.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.code.iter().any(|(from, to)| (*from..*to).contains(&address))
    }

    /// The symbol that an address lies behind, with the distance. Of several with one address it is the first, as the kernel prints.
    pub(super) fn find(&self, address: u64) -> Option<(String, u64)> {
        let behind = self.sorted.partition_point(|symbol| symbol.address <= address);
        let nearest = self.sorted.get(behind.checked_sub(1)?)?;
        let first = self.sorted.partition_point(|symbol| symbol.address < nearest.address);
        let name = self.bytes(self.sorted.get(first)?);
        Some((String::from_utf8_lossy(name).into_owned(), address.wrapping_sub(nearest.address)))
    }

    fn bytes(&self, symbol: &Symbol) -> &[u8] {
        let from = usize::try_from(symbol.name_at).unwrap_or(usize::MAX);
        self.names.get(from..from.saturating_add(usize::from(symbol.name_size))).unwrap_or_default()
    }
}

/// The letters that each token stands for.
fn tokens(memory: &Memory<'_>, table: u64, index: u64) -> Option<Vec<Vec<u8>>> {
    let table = memory.some(table, TOKEN_TABLE_BYTES);
    let index = memory.all(index, TOKENS.checked_mul(2)?)?;
    let token = |number: usize| {
        let from = table.get(usize::from(u16_at(&index, number.checked_mul(2)?)?)..)?;
        Some(from.iter().copied().take_while(|letter| *letter != 0).take(NAME_BYTES_MAX).collect())
    };
    (0..TOKENS).map(token).collect()
}

/// The length of a packed name and where its content begins. Since 6.1 names of 128 bytes and more have two bytes of length.
fn length(packed: &[u8], at: usize) -> Option<(usize, usize)> {
    let low = usize::from(*packed.get(at)?);
    if low & 0x80 == 0 {
        return Some((low, at.checked_add(1)?));
    }
    let high = usize::from(*packed.get(at.checked_add(1)?)?);
    Some(((low & 0x7f) | (high << 7), at.checked_add(2)?))
}

/// Addresses from offsets. Where variables of processors are absolute, an offset from the base is written as its negative less one.
fn addresses(offsets: &[u8], base: u64) -> Vec<u64> {
    let offsets: Vec<u32> = offsets.chunks_exact(4).filter_map(|offset| u32_at(offset, 0)).collect();
    let is_negative = |offset: &&u32| **offset > u32::MAX / 2;
    let has_absolute = offsets.iter().filter(is_negative).count() > offsets.len() / 2;
    let address = |offset: &u32| match (has_absolute, is_negative(&offset)) {
        (true, false) => u64::from(*offset),
        (true, true) => base.wrapping_add(u64::from(!*offset)),
        (false, _) => base.wrapping_add(u64::from(*offset)),
    };
    offsets.iter().map(address).collect()
}

/// The symbol of a module that an address lies behind: the module keeps its ELF symbols.
pub(super) fn find_in_module(
    memory: &Memory<'_>,
    table: (u64, u32, u64),
    code: std::ops::Range<u64>,
    address: u64,
) -> Option<(String, u64)> {
    /// Symbols of a module, at most.
    const MODULE_SYMBOLS_MAX: u32 = 1 << 17;
    const SYMBOL_BYTES: usize = 24;
    let (symbols, count, names) = table;
    let size = usize::try_from(count.min(MODULE_SYMBOLS_MAX)).ok()?.checked_mul(SYMBOL_BYTES)?;
    let table = memory.some(symbols, size);
    let defined =
        table.chunks_exact(SYMBOL_BYTES).filter(|symbol| u16_at(symbol, 6).is_some_and(|section| section != 0));
    let placed = defined.filter_map(|symbol| Some((u64_at(symbol, 8)?, u32_at(symbol, 0)?)));
    let before = placed.filter(|(value, _)| code.contains(value) && *value <= address);
    let mut best: Option<(u64, String)> = None;
    for (value, name) in before {
        if best.as_ref().is_some_and(|(nearest, _)| *nearest >= value) {
            continue;
        }
        let bytes = memory.some(names.wrapping_add(u64::from(name)), NAME_BYTES_MAX);
        let letters: Vec<u8> = bytes.into_iter().take_while(|letter| *letter != 0).collect();
        let text = String::from_utf8_lossy(&letters).into_owned();
        if !text.is_empty() && !text.starts_with(['$', '.']) {
            best = Some((value, text));
        }
    }
    best.map(|(value, name)| (name, address.wrapping_sub(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_together_from_tokens() {
        let mut tokens: Vec<Vec<u8>> = (0..=255_u8).map(|letter| vec![letter]).collect();
        tokens[1] = b"Tfrob_".to_vec();
        tokens[2] = b"open".to_vec();
        let mut packed = vec![2, 1, 2, 3, 1, 2, b's'];
        packed.extend([0x80 | 2, 1, b'T']);
        packed.extend([b'a'; 129]);
        let mut table = Symbols::default();
        table.expand(&packed, &tokens, &[0x1000, 0x2000, 0x3000, 0x4000]);
        assert_eq!(table.sorted.len(), 3, "a fourth name is not there");
        assert_eq!(table.address("frob_open"), Some(0x1000));
        assert_eq!(table.find(0x2010), Some(("frob_opens".to_owned(), 0x10)));
        assert_eq!(table.find(0x3000).map(|(name, _)| name.len()), Some(129));
        assert_eq!(table.find(0xfff), None);
    }

    #[test]
    fn offsets_are_absolute_for_variables_of_processors_only() {
        let bytes = |offsets: &[u32]| -> Vec<u8> { offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect() };
        let base = 0xffff_ffff_8100_0000;
        assert_eq!(addresses(&bytes(&[0x40, !0, !0x10]), base), [0x40, base, base + 0x10]);
        assert_eq!(addresses(&bytes(&[0, 0x10]), base), [base, base + 0x10]);
    }
}
