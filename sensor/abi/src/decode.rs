//! Reads records. Total: any bytes give a record or a named refusal, never a panic, and nothing is guessed.

use crate::hook::Hook;
use crate::layout::{
    Credentials, Exec, Exit, File, Fork, Header, Process, RecordType, Socket, System, Tag, Target, ABI_VERSION,
    ATTACHMENT_CUT, ATTACHMENT_DETACHED, ATTACHMENT_UNREADABLE, FLAG_HAS_PROCESS,
};

/// Why bytes from a ring are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than what must be there.
    #[error("{bytes} bytes are too few for {what}")]
    TooShort {
        /// What was to be read.
        what: &'static str,
        /// Bytes that there were.
        bytes: usize,
    },
    /// Written by another version of the sensor.
    #[error(
        "record has ABI version {version}, this reader reads {ABI_VERSION}: the pinned programs are of another version"
    )]
    Version {
        /// Version in the record.
        version: u16,
    },
    /// The header's size is not that of the bytes.
    #[error("record says {said} bytes but {bytes} were in the ring")]
    Size {
        /// Size by the header.
        said: u32,
        /// Size by the ring.
        bytes: usize,
    },
    /// A number that names nothing.
    #[error("{what} {number} does not exist")]
    Unknown {
        /// Record type, hook or tag.
        what: &'static str,
        /// The number.
        number: u16,
    },
    /// The same attachment twice.
    #[error("attachment {tag:?} is there twice")]
    Twice {
        /// Which.
        tag: Tag,
    },
}

/// The body of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is the layout of the same name
pub enum Body {
    Fork(Fork),
    Exec(Exec),
    Exit(Exit),
    Credentials(Credentials),
    Target(Target),
    File(File),
    Socket(Socket),
    System(System),
}

/// A string or list of strings behind the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// What it holds.
    pub tag: Tag,
    /// Its bytes, without padding.
    pub bytes: &'a [u8],
    /// Its end was cut.
    pub is_cut: bool,
    /// Part of it could not be read.
    pub is_unreadable: bool,
    /// A path that does not start at a root.
    pub is_detached: bool,
}

/// A record, its strings borrowed from the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The header.
    pub header: Header,
    /// The hook by the header.
    pub hook: Hook,
    /// The process, where the hook ran in its context.
    pub process: Option<Process>,
    /// What happened.
    pub body: Body,
    attachments: [Option<Attachment<'a>>; ATTACHMENTS_MAX],
}

const ATTACHMENT_HEADER_BYTES: usize = 8;
/// Most strings of one record: an exec has executable, arguments, folder, control group and interpreter.
const ATTACHMENTS_MAX: usize = 5;

impl<'a> Record<'a> {
    /// Reads one record.
    ///
    /// # Errors
    /// Names the first thing that is wrong; see [`DecodeError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header = Header::read(bytes).ok_or(DecodeError::TooShort { what: "a header", bytes: bytes.len() })?;
        if header.version != ABI_VERSION {
            return Err(DecodeError::Version { version: header.version });
        }
        if usize::try_from(header.bytes) != Ok(bytes.len()) {
            return Err(DecodeError::Size { said: header.bytes, bytes: bytes.len() });
        }
        let record = RecordType::from_number(header.record)
            .ok_or(DecodeError::Unknown { what: "record type", number: header.record })?;
        let hook = Hook::from_number(header.hook).ok_or(DecodeError::Unknown { what: "hook", number: header.hook })?;
        let mut rest = bytes.get(Header::BYTES..).unwrap_or_default();
        let process = if header.flags & FLAG_HAS_PROCESS != 0 {
            let process = Process::read(rest).ok_or(DecodeError::TooShort { what: "a process", bytes: rest.len() })?;
            Some(process)
        } else {
            None
        };
        // The space is there in both cases, so that every body starts at one offset.
        rest = rest.get(Process::BYTES..).ok_or(DecodeError::TooShort { what: "a process", bytes: rest.len() })?;
        let (body, body_bytes) = read_body(record, rest)?;
        rest = rest.get(body_bytes..).unwrap_or_default();
        let attachments = read_attachments(rest)?;
        Ok(Self { header, hook, process, body, attachments })
    }

    /// The attachment with this tag.
    #[must_use]
    pub fn attachment(&self, tag: Tag) -> Option<&Attachment<'a>> {
        self.attachments.iter().flatten().find(|attachment| attachment.tag == tag)
    }
}

fn read_body(record: RecordType, bytes: &[u8]) -> Result<(Body, usize), DecodeError> {
    let read = match record {
        RecordType::Fork => Fork::read(bytes).map(|body| (Body::Fork(body), Fork::BYTES)),
        RecordType::Exec => Exec::read(bytes).map(|body| (Body::Exec(body), Exec::BYTES)),
        RecordType::Exit => Exit::read(bytes).map(|body| (Body::Exit(body), Exit::BYTES)),
        RecordType::Credentials => Credentials::read(bytes).map(|body| (Body::Credentials(body), Credentials::BYTES)),
        RecordType::Target => Target::read(bytes).map(|body| (Body::Target(body), Target::BYTES)),
        RecordType::File => File::read(bytes).map(|body| (Body::File(body), File::BYTES)),
        RecordType::Socket => Socket::read(bytes).map(|body| (Body::Socket(body), Socket::BYTES)),
        RecordType::System => System::read(bytes).map(|body| (Body::System(body), System::BYTES)),
        // Verdicts come through a ring of their own, see `VerdictRecord`.
        RecordType::Verdict => return Err(DecodeError::Unknown { what: "record type", number: record as u16 }),
    };
    read.ok_or(DecodeError::TooShort { what: "a body", bytes: bytes.len() })
}

fn read_attachments(mut rest: &[u8]) -> Result<[Option<Attachment<'_>>; ATTACHMENTS_MAX], DecodeError> {
    let mut attachments = [None; ATTACHMENTS_MAX];
    let mut free = attachments.iter_mut();
    let mut seen = 0_u32;
    while !rest.is_empty() {
        let short = DecodeError::TooShort { what: "an attachment's header", bytes: rest.len() };
        let (head, tail) = rest.split_first_chunk::<ATTACHMENT_HEADER_BYTES>().ok_or(short)?;
        let [t0, t1, f0, f1, s0, s1, s2, s3] = *head;
        let number = u16::from_le_bytes([t0, t1]);
        let flags = u16::from_le_bytes([f0, f1]);
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        let tag = Tag::from_number(number).ok_or(DecodeError::Unknown { what: "attachment", number })?;
        let bytes = tail.get(..size).ok_or(DecodeError::TooShort { what: "an attachment", bytes: tail.len() })?;
        let bit = 1_u32 << (number % 32);
        if seen & bit != 0 {
            return Err(DecodeError::Twice { tag });
        }
        seen |= bit;
        let slot = free.next().ok_or(DecodeError::Unknown { what: "attachment beyond the fifth", number })?;
        *slot = Some(Attachment {
            tag,
            bytes,
            is_cut: flags & ATTACHMENT_CUT != 0,
            is_unreadable: flags & ATTACHMENT_UNREADABLE != 0,
            is_detached: flags & ATTACHMENT_DETACHED != 0,
        });
        let padded = size.saturating_add(7) & !7;
        rest = tail.get(padded..).ok_or(DecodeError::TooShort { what: "padding", bytes: tail.len() })?;
    }
    Ok(attachments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exec_record(attachments: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header {
            version: ABI_VERSION,
            record: RecordType::Exec as u16,
            hook: Hook::TaskExec as u16,
            flags: FLAG_HAS_PROCESS,
            ..Header::default()
        };
        header.write(&mut bytes);
        Process { pid: 7, ..Process::default() }.write(&mut bytes);
        Exec { inode: 3, ..Exec::default() }.write(&mut bytes);
        for (tag, text) in attachments {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&0_u16.to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(text.len()).expect("short").to_le_bytes());
            bytes.extend_from_slice(text);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let size = u32::try_from(bytes.len()).expect("short");
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    #[test]
    fn a_record_is_read_back_with_its_strings() {
        let bytes = exec_record(&[(2, b"ls\0-l\0"), (1, b"ls\0bin\0")]);
        let record = Record::read(&bytes).expect("a good record");
        assert_eq!(record.process.map(|process| process.pid), Some(7));
        assert_eq!(record.attachment(Tag::Argv).map(|argv| argv.bytes), Some(&b"ls\0-l\0"[..]));
        assert_eq!(record.attachment(Tag::Cwd), None);
    }

    #[test]
    fn records_of_another_version_are_refused() {
        let mut bytes = exec_record(&[]);
        bytes[0] = 99;
        assert_eq!(Record::read(&bytes), Err(DecodeError::Version { version: 99 }));
    }

    #[test]
    fn a_string_twice_or_longer_than_the_record_is_refused() {
        assert_eq!(Record::read(&exec_record(&[(2, b"a"), (2, b"b")])), Err(DecodeError::Twice { tag: Tag::Argv }));
        let mut bytes = exec_record(&[(2, b"12345678")]);
        let at = bytes.len() - 12;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Record::read(&bytes), Err(DecodeError::TooShort { what: "an attachment", .. })));
    }

    #[test]
    fn every_cut_of_a_good_record_is_refused() {
        let bytes = exec_record(&[(2, b"ls\0"), (1, b"ls\0bin\0")]);
        for end in 0..bytes.len() {
            assert!(Record::read(&bytes[..end]).is_err(), "{end} bytes of {} were read", bytes.len());
        }
    }

    /// Deterministic, so that a mutant that fails once fails always.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, most: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % most.max(1) as u64).expect("below a usize")
        }

        fn mutate(&mut self, bytes: &mut Vec<u8>) {
            for _ in 0..=self.below(4) {
                let (at, value) = (self.below(bytes.len()), self.below(256) as u8);
                match self.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, value),
                    2 => bytes.extend_from_within(at..),
                    3 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
                    _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
                }
                if bytes.is_empty() {
                    bytes.push(value);
                }
            }
            if self.below(4) > 0 && bytes.len() > 8 {
                // Most mutants say their real size, so that they get past the first check.
                let size = u32::try_from(bytes.len()).expect("short");
                bytes[4..8].copy_from_slice(&size.to_le_bytes());
            }
        }
    }

    #[test]
    fn of_a_hundred_thousand_mutants_none_panics_and_each_refusal_has_a_name() {
        let seeds = [
            exec_record(&[(2, b"ls\0-l\0"), (1, b"ls\0bin\0"), (3, b"/tmp\0")]),
            exec_record(&[(2, &[b'x'; 300])]),
            exec_record(&[]),
        ];
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (mut read, mut refused) = (0, std::collections::HashMap::new());
        for round in 0..100_000 {
            let mut mutant = seeds[round % seeds.len()].clone();
            if dice.below(2) == 0 {
                mutant[2] = dice.below(12) as u8; // another type of record over the same bytes
            }
            dice.mutate(&mut mutant);
            match Record::read(&mutant) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    *refused.entry(std::mem::discriminant(&error)).or_insert(0) += 1;
                }
            }
        }
        assert!(read > 1_000, "only {read} mutants were read: they no longer look like records");
        assert_eq!(refused.len(), 5, "each kind of refusal is met");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in any::<bool>()) {
            let mut record = if start { exec_record(&[]) } else { Vec::new() };
            record.extend(bytes);
            let size = u32::try_from(record.len()).expect("short");
            if let Some(slot) = record.get_mut(4..8) { slot.copy_from_slice(&size.to_le_bytes()); }
            let _ = Record::read(&record);
        }
    }
}
