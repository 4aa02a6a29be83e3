//! ELF notes: small named records. VMCOREINFO is one; the registers of each processor are others.

use crate::machine::bytes::u32_at;

/// Notes of a core, at most: some three a processor.
const NOTES_MAX: usize = 1 << 15;
/// All notes together.
pub(super) const NOTES_BYTES_MAX: u64 = 32 << 20;
/// Type of a note that holds a processor's registers.
pub(super) const NT_PRSTATUS: u32 = 1;

/// A note.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub name: String,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

/// Reads notes up to the first that is cut or makes no sense.
pub(super) fn notes(bytes: &[u8]) -> Vec<Note> {
    let mut found = Vec::new();
    let mut at = 0_usize;
    while found.len() < NOTES_MAX {
        let Some((note, next)) = note(bytes, at) else { break };
        // The kernel leaves an empty note for a processor that saved nothing.
        if !note.name.is_empty() {
            found.push(note);
        }
        at = next;
    }
    found
}

fn note(bytes: &[u8], at: usize) -> Option<(Note, usize)> {
    let size = |offset: usize| u32_at(bytes, at.checked_add(offset)?).and_then(|size| usize::try_from(size).ok());
    let (name_size, content_size) = (size(0)?, size(4)?);
    let kind = u32_at(bytes, at.checked_add(8)?)?;
    let name_at = at.checked_add(12)?;
    let content_at = name_at.checked_add(name_size.checked_next_multiple_of(4)?)?;
    let name = bytes.get(name_at..name_at.checked_add(name_size)?)?;
    let name = name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
    let content = bytes.get(content_at..content_at.checked_add(content_size)?)?.to_vec();
    let next = content_at.checked_add(content_size.checked_next_multiple_of(4)?)?;
    Some((Note { name, kind, bytes: content }, next))
}

/// The text of the VMCOREINFO note.
pub(super) fn vmcoreinfo(notes: &[Note]) -> Option<String> {
    let note = notes.iter().find(|note| note.name == "VMCOREINFO")?;
    Some(String::from_utf8_lossy(&note.bytes).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_up_to_one_that_is_cut() {
        let mut bytes = Vec::new();
        for (name, content) in [(&b"CORE\0"[..], &b"abc"[..]), (b"VMCOREINFO\0", b"OSRELEASE=6\n\0")] {
            bytes.extend(u32::try_from(name.len()).expect("small").to_le_bytes());
            bytes.extend(u32::try_from(content.len()).expect("small").to_le_bytes());
            bytes.extend(7_u32.to_le_bytes());
            for part in [name, content] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        bytes.extend([0xff; 12]);
        let found = notes(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].kind, found[0].bytes.as_slice()), ("CORE", 7, &b"abc"[..]));
        assert_eq!(vmcoreinfo(&found).as_deref(), Some("OSRELEASE=6\n"));
        assert!(notes(&[0xff; 64]).is_empty());
    }
}
