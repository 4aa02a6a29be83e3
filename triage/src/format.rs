//! What a file is, told from its first bytes and never from its name: names are given by people, and dumps get renamed.

use std::fmt;

/// Bytes that telling a format needs: an ELF header, with the type and the class in it.
pub const HEAD_BYTES: usize = 64;

/// Formats of crash files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Windows kernel dump of a 64-bit machine: `PAGEDU64`.
    WindowsKernel64,
    /// Windows kernel dump of a 32-bit machine: `PAGEDUMP`.
    WindowsKernel32,
    /// A minidump of a process: `MDMP`.
    Minidump,
    /// An ELF core, of a process or of a kernel.
    ElfCore,
    /// A kdump-compressed Linux kernel core, or the same in makedumpfile's flattened form.
    Kdump,
    /// Anything else is read as text.
    Text,
}

impl Format {
    /// Tells the format from a file's first bytes.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        /// ELF type of a core file.
        const ET_CORE: u8 = 4;
        if head.starts_with(b"PAGEDU64") {
            Self::WindowsKernel64
        } else if head.starts_with(b"PAGEDUMP") {
            Self::WindowsKernel32
        } else if head.starts_with(b"MDMP") {
            Self::Minidump
        } else if head.starts_with(b"KDUMP   ") || head.starts_with(b"makedumpfile\0") {
            Self::Kdump
        } else if head.starts_with(b"\x7fELF") && (head.get(16) == Some(&ET_CORE) || head.get(17) == Some(&ET_CORE)) {
            Self::ElfCore
        } else {
            Self::Text
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WindowsKernel64 => "a Windows kernel dump (64-bit)",
            Self::WindowsKernel32 => "a Windows kernel dump (32-bit)",
            Self::Minidump => "a minidump",
            Self::ElfCore => "an ELF core",
            Self::Kdump => "a kdump-compressed kernel core",
            Self::Text => "text",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_from_its_first_bytes() {
        let mut core = [0_u8; HEAD_BYTES];
        core[..4].copy_from_slice(b"\x7fELF");
        core[16] = 4;
        let mut program = core;
        program[16] = 2;
        for (head, format) in [
            (&b"PAGEDU64"[..], Format::WindowsKernel64),
            (b"PAGEDUMP", Format::WindowsKernel32),
            (b"MDMP\x93\xa7", Format::Minidump),
            (b"KDUMP   \x06", Format::Kdump),
            (b"makedumpfile\0\0\0\0", Format::Kdump),
            (&core, Format::ElfCore),
            (&program, Format::Text),
            (b"[    1.000000] BUG: x", Format::Text),
            (b"", Format::Text),
        ] {
            assert_eq!(Format::of(head), format, "{head:?}");
        }
    }
}
