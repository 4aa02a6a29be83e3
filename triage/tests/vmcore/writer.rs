//! Writes cores: ELF, kdump-compressed with each way to compress a page, and makedumpfile's flattened form of either.

use super::kernel::{Kernel, PHYSICAL};

const PAGE: usize = 4096;

/// Ways to compress a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Zlib,
    Snappy,
    Zstd,
    /// Named in the flags only: nothing here can write it.
    Lzo,
}

/// An ELF core: the notes and one segment of memory.
pub fn elf(kernel: &Kernel) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([4_u16, 62].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 2, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    let notes_at = 64 + 2 * 56;
    let memory_at = (notes_at + kernel.notes.len()).next_multiple_of(PAGE);
    let size = |bytes: &[u8]| bytes.len() as u64;
    for (kind, offset, physical, size) in
        [(4_u32, notes_at, 0, size(&kernel.notes)), (1, memory_at, PHYSICAL, size(&kernel.image))]
    {
        file.extend(kind.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        file.extend([offset as u64, 0, physical, size, size, 0].iter().flat_map(|word| word.to_le_bytes()));
    }
    file.extend(&kernel.notes);
    file.resize(memory_at, 0);
    file.extend(&kernel.image);
    file
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A kdump-compressed core. Pages of zero only are left out, as makedumpfile does.
pub fn kdump(kernel: &Kernel, compression: Compression) -> Vec<u8> {
    let mut file = b"KDUMP   ".to_vec();
    let first = usize::try_from(PHYSICAL).expect("small") / PAGE;
    let pages: Vec<&[u8]> = kernel.image.chunks(PAGE).collect();
    let max = first + pages.len();
    put(&mut file, 8, &6_u32.to_le_bytes());
    put(&mut file, 12 + 4 * 65, b"x86_64\0");
    let bitmap_blocks = 2 * max.div_ceil(8 * PAGE);
    for (at, value) in [(428, PAGE), (432, 1), (436, bitmap_blocks)] {
        put(&mut file, at, &u32::try_from(value).expect("small").to_le_bytes());
    }
    let bitmap_at = 2 * PAGE;
    let second_at = bitmap_at + bitmap_blocks / 2 * PAGE;
    let descriptors_at = bitmap_at + bitmap_blocks * PAGE;
    let present: Vec<usize> = (0..pages.len()).filter(|number| pages[*number].iter().any(|byte| *byte != 0)).collect();
    for number in &present {
        let bit = first + number;
        for bitmap in [bitmap_at, second_at] {
            put(&mut file, bitmap + bit / 8, &[]);
            let at = bitmap + bit / 8;
            let old = file.get(at).copied().unwrap_or_default();
            put(&mut file, at, &[old | 1 << (bit % 8)]);
        }
    }
    let mut content = descriptors_at + present.len() * 24;
    for (index, number) in present.iter().enumerate() {
        let (stored, flags) = compress(pages[*number], compression);
        let descriptor = descriptors_at + index * 24;
        put(&mut file, descriptor, &(content as u64).to_le_bytes());
        put(&mut file, descriptor + 8, &u32::try_from(stored.len()).expect("small").to_le_bytes());
        put(&mut file, descriptor + 12, &u32::to_le_bytes(flags));
        put(&mut file, descriptor + 16, &[0; 8]);
        put(&mut file, content, &stored);
        content += stored.len();
    }
    let sub = PAGE;
    let parts = [(32, kernel.vmcoreinfo.as_bytes()), (48, kernel.notes.as_slice())];
    for (at, part) in parts {
        put(&mut file, sub + at, &(content as u64).to_le_bytes());
        put(&mut file, sub + at + 8, &(part.len() as u64).to_le_bytes());
        put(&mut file, content, part);
        content += part.len();
    }
    put(&mut file, sub + 96, &(max as u64).to_le_bytes());
    file
}

fn compress(page: &[u8], compression: Compression) -> (Vec<u8>, u32) {
    match compression {
        Compression::None => (page.to_vec(), 0),
        Compression::Zlib => {
            let mut zlib = flate2::Compress::new(flate2::Compression::fast(), true);
            let mut stored = Vec::with_capacity(2 * PAGE);
            zlib.compress_vec(page, &mut stored, flate2::FlushCompress::Finish).expect("compresses");
            (stored, 1)
        }
        Compression::Snappy => (snap::raw::Encoder::new().compress_vec(page).expect("compresses"), 4),
        Compression::Zstd => {
            (ruzstd::encoding::compress_to_vec(page, ruzstd::encoding::CompressionLevel::Fastest), 0x20)
        }
        Compression::Lzo => (page[..16].to_vec(), 2),
    }
}

/// The flattened form: pieces out of order, the header last and once before it was final.
pub fn flattened(core: &[u8]) -> Vec<u8> {
    let mut file = b"makedumpfile\0\0\0\0".to_vec();
    file.extend([1_i64, 1].iter().flat_map(|word| word.to_be_bytes()));
    file.resize(PAGE, 0);
    let mut piece = |at: usize, bytes: &[u8]| {
        file.extend(i64::try_from(at).expect("small").to_be_bytes());
        file.extend(i64::try_from(bytes.len()).expect("small").to_be_bytes());
        file.extend(bytes);
    };
    piece(0, &[0xff; 2 * PAGE]);
    let middle = (core.len() / 2) | 1;
    piece(middle, &core[middle..]);
    piece(PAGE, &core[PAGE..middle]);
    piece(0, &core[..PAGE]);
    file.extend([0xff; 16]);
    file
}
