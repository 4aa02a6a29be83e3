//! A pack around a fuzzer's bytes, sealed with right sizes and digests: the first eight bytes say where its sections end.

use sha2::{Digest as _, Sha256};

const SECTIONS: u32 = 4;
const HEADER_BYTES: u64 = 24;
const RECORD_BYTES: u64 = 56;

pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let (cuts, mut rest) = bytes.split_at(bytes.len().min(6));
    let mut sections = Vec::new();
    for cut in cuts.chunks(2) {
        let size = cut.iter().fold(0_usize, |size, byte| size << 8 | usize::from(*byte)).min(rest.len());
        let (section, behind) = rest.split_at(size);
        sections.push(section);
        rest = behind;
    }
    sections.resize(SECTIONS as usize - 1, &[]);
    sections.push(rest);
    pack(&sections)
}

fn pack(sections: &[&[u8]]) -> Vec<u8> {
    let mut offset = HEADER_BYTES + RECORD_BYTES * u64::from(SECTIONS);
    let total = offset + sections.iter().map(|section| section.len() as u64).sum::<u64>();
    let mut pack = b"WTPACK\0\0".to_vec();
    pack.extend(1_u32.to_le_bytes());
    pack.extend(SECTIONS.to_le_bytes());
    pack.extend(total.to_le_bytes());
    for (kind, section) in (1_u32..).zip(sections) {
        pack.extend(kind.to_le_bytes());
        pack.extend(0_u32.to_le_bytes());
        pack.extend(offset.to_le_bytes());
        pack.extend((section.len() as u64).to_le_bytes());
        pack.extend(Sha256::digest(section));
        offset += section.len() as u64;
    }
    sections.iter().for_each(|section| pack.extend_from_slice(section));
    pack
}
