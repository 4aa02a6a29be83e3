//! Writes a registry hive: base block, one bin, keys with their lists and values.

/// A value: its name, its type and its bytes.
pub type Value<'a> = (&'a str, u32, Vec<u8>);

/// A key: its name, its values, the keys below it.
pub struct Key<'a> {
    pub name: &'a str,
    pub values: Vec<Value<'a>>,
    pub below: Vec<Key<'a>>,
}

/// Text as a hive has it.
pub fn text(words: &str) -> Vec<u8> {
    words.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// The hive's bytes.
pub fn hive(root: &Key<'_>) -> Vec<u8> {
    let mut bin = vec![0; 0x20];
    let root = put_key(&mut bin, root, 0x2c);
    bin.resize(bin.len().next_multiple_of(0x1000), 0);
    let size = (bin.len() as u32).to_le_bytes();
    bin[..4].copy_from_slice(b"hbin");
    bin[8..12].copy_from_slice(&size);
    let mut head = vec![0; 0x1000];
    head[..4].copy_from_slice(b"regf");
    for (at, number) in [(4, 1_u32), (8, 1), (0x14, 1), (0x18, 5), (0x20, 1), (0x24, root), (0x2c, 1)] {
        head[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    head[0x28..0x2c].copy_from_slice(&size);
    let sum =
        head[..0x1fc].chunks_exact(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().expect("four")));
    head[0x1fc..0x200].copy_from_slice(&sum.to_le_bytes());
    [head, bin].concat()
}

/// Writes a cell and gives its offset.
fn put(bin: &mut Vec<u8>, content: &[u8]) -> u32 {
    let at = bin.len() as u32;
    let size = (content.len() + 4).next_multiple_of(8);
    bin.extend((-(size as i32)).to_le_bytes());
    bin.extend(content);
    bin.resize(at as usize + size, 0);
    at
}

fn put_key(bin: &mut Vec<u8>, key: &Key<'_>, flags: u16) -> u32 {
    let values: Vec<u32> = key.values.iter().map(|value| put_value(bin, value)).collect();
    let values_at = put(bin, &values.iter().flat_map(|at| at.to_le_bytes()).collect::<Vec<_>>());
    let below: Vec<u32> = key.below.iter().map(|below| put_key(bin, below, 0x20)).collect();
    let mut list = [b"lh".as_slice(), &(below.len() as u16).to_le_bytes()].concat();
    for (at, below) in below.iter().zip(&key.below) {
        let hash = below
            .name
            .to_ascii_uppercase()
            .bytes()
            .fold(0_u32, |hash, byte| hash.wrapping_mul(37).wrapping_add(u32::from(byte)));
        list.extend([at.to_le_bytes(), hash.to_le_bytes()].concat());
    }
    let list_at = if below.is_empty() { u32::MAX } else { put(bin, &list) };
    let mut cell = vec![0; 0x4c];
    cell[..2].copy_from_slice(b"nk");
    cell[2..4].copy_from_slice(&flags.to_le_bytes());
    cell[0x48..0x4a].copy_from_slice(&(key.name.len() as u16).to_le_bytes());
    let numbers = [
        (0x14, below.len() as u32),
        (0x1c, list_at),
        (0x20, u32::MAX),
        (0x24, values.len() as u32),
        (0x28, values_at),
        (0x2c, u32::MAX),
        (0x30, u32::MAX),
    ];
    for (at, number) in numbers {
        cell[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    cell.extend(key.name.bytes());
    put(bin, &cell)
}

fn put_value(bin: &mut Vec<u8>, (name, kind, bytes): &Value<'_>) -> u32 {
    let (size, place) = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(inline) => (4 | 1 << 31, u32::from_le_bytes(inline)),
        Err(_) => (bytes.len() as u32, put(bin, bytes)),
    };
    let mut cell = b"vk".to_vec();
    cell.extend((name.len() as u16).to_le_bytes());
    cell.extend([size, place, *kind].map(u32::to_le_bytes).concat());
    cell.extend([1, 0, 0, 0]);
    cell.extend(name.bytes());
    put(bin, &cell)
}
