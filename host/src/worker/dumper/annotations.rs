//! What is known beside registers and stacks, as a stream of its own in the form in which Crashpad leaves it, so that every reader of
//! minidumps shows it: `MINIDUMP_CRASHPAD_INFO` with simple annotations (Crashpad, `minidump/minidump_extensions.h`).

/// Type of the stream: `kMinidumpStreamTypeCrashpadInfo`.
const CRASHPAD_INFO: u32 = 0x4350_0001;
/// Bytes of a directory's entry: type, size, offset.
const ENTRY_BYTES: usize = 12;
/// Bytes of the stream: version, two ids of 16, annotations, modules.
const STREAM_BYTES: usize = 52;
/// Offsets in the dump's header.
const STREAM_COUNT_AT: usize = 8;
const DIRECTORY_AT: usize = 12;

/// The dump with one more stream; `None` if it is none. What was there stays where it is; the directory moves to the end.
#[must_use]
pub fn added(mut dump: Vec<u8>, notes: &[(String, String)]) -> Option<Vec<u8>> {
    let count = usize::try_from(word(&dump, STREAM_COUNT_AT)?).ok()?;
    let at = usize::try_from(word(&dump, DIRECTORY_AT)?).ok()?;
    let end = at.checked_add(count.checked_mul(ENTRY_BYTES)?)?;
    let mut directory = dump.get(at..end)?.to_vec();
    let mut entries = Vec::new();
    for (name, value) in notes {
        for text in [name, value] {
            entries.extend(put(&mut dump, &string(text)?)?.to_le_bytes());
        }
    }
    let mut dictionary = u32::try_from(notes.len()).ok()?.to_le_bytes().to_vec();
    dictionary.extend(entries);
    let annotations = put(&mut dump, &dictionary)?;
    let mut stream = vec![0; STREAM_BYTES];
    set(&mut stream, 0, 1)?; // the version
    set(&mut stream, 36, u32::try_from(dictionary.len()).ok()?)?;
    set(&mut stream, 40, annotations)?;
    let stream = put(&mut dump, &stream)?;
    for value in [CRASHPAD_INFO, u32::try_from(STREAM_BYTES).ok()?, stream] {
        directory.extend(value.to_le_bytes());
    }
    let directory = put(&mut dump, &directory)?;
    set(&mut dump, STREAM_COUNT_AT, u32::try_from(count.checked_add(1)?).ok()?)?;
    set(&mut dump, DIRECTORY_AT, directory)?;
    Some(dump)
}

/// A text as `MinidumpUTF8String`: its length, its bytes, a zero.
fn string(text: &str) -> Option<Vec<u8>> {
    let mut bytes = u32::try_from(text.len()).ok()?.to_le_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes.push(0);
    Some(bytes)
}

/// Puts bytes at the end, where a word may begin, and says where.
fn put(dump: &mut Vec<u8>, bytes: &[u8]) -> Option<u32> {
    dump.resize(dump.len().checked_next_multiple_of(4)?, 0);
    let at = u32::try_from(dump.len()).ok()?;
    dump.extend(bytes);
    Some(at)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn set(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_le_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_added_and_the_others_stay() {
        let mut dump = b"MDMP".to_vec();
        dump.resize(32, 0);
        set(&mut dump, STREAM_COUNT_AT, 1).expect("room");
        set(&mut dump, DIRECTORY_AT, 32).expect("room");
        dump.extend([7_u8, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0]);
        let notes = [("content id".to_owned(), "ab".to_owned())];
        let made = added(dump.clone(), &notes).expect("a dump");
        assert_eq!(word(&made, STREAM_COUNT_AT), Some(2));
        let at = usize::try_from(word(&made, DIRECTORY_AT).expect("there")).expect("small");
        assert_eq!(made.get(at..at + 12), dump.get(32..44), "what was there");
        assert_eq!(word(&made, at + 12), Some(CRASHPAD_INFO));
        let stream = usize::try_from(word(&made, at + 20).expect("there")).expect("small");
        let dictionary = usize::try_from(word(&made, stream + 40).expect("there")).expect("small");
        assert_eq!(word(&made, dictionary), Some(1));
        let value = usize::try_from(word(&made, dictionary + 8).expect("there")).expect("small");
        assert_eq!(made.get(value..value + 7), Some(&b"\x02\0\0\0ab\0"[..]));
        // One whose directory lies outside of it is none.
        set(&mut dump, DIRECTORY_AT, 40).expect("room");
        assert_eq!(added(dump, &notes), None);
    }
}
