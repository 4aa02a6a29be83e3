//! Where a reader's bytes come from: a file by positioned reads, or memory.
//!
//! Positioned reads and no memory map: a file that someone cuts short while it is mapped kills whoever reads it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::Error;

/// Bytes by offset.
pub trait Source {
    /// How many bytes there are.
    fn size_bytes(&self) -> u64;

    /// Reads up to the buffer's length at the offset; fewer only where the source ends, none behind its end.
    ///
    /// # Errors
    /// When the system refuses.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The bytes from the offset on, at most so many; fewer where the source ends.
    ///
    /// # Errors
    /// When the system refuses.
    fn bytes(&self, offset: u64, size_bytes_max: usize) -> Result<Vec<u8>, Error> {
        let left = self.size_bytes().saturating_sub(offset);
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(size_bytes_max);
        let mut bytes = vec![0; size];
        let read = self.read_at(offset, &mut bytes).map_err(|source| Error::Read { offset, source })?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// A regular file.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size_bytes: u64,
}

impl FileSource {
    /// Opens a regular file.
    ///
    /// # Errors
    /// When it can't be opened or is no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // What it is comes first: opening a FIFO would wait for whoever writes it.
        let is_file = std::fs::metadata(path).map_err(|source| Error::Open { source })?.is_file();
        if !is_file {
            return Err(Error::NotAFile);
        }
        let file = File::open(path).map_err(|source| Error::Open { source })?;
        let metadata = file.metadata().map_err(|source| Error::Open { source })?;
        if !metadata.is_file() {
            return Err(Error::NotAFile);
        }
        if metadata.len() == 0 && is_of_proc(&metadata) {
            return Err(Error::NoSize);
        }
        Ok(Self { file, size_bytes: metadata.len() })
    }
}

/// Whether a file is one of `/proc`. It is not read to find out: some of those wait, and some lose what was read.
fn is_of_proc(file: &Metadata) -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|proc| proc.dev() == file.dev())
}

impl FileSource {
    /// A file that somebody else opened, of that size.
    #[must_use]
    pub fn of(file: File, size_bytes: u64) -> Self {
        Self { file, size_bytes }
    }

    /// The file and its size, to be handed to somebody else.
    #[must_use]
    pub fn into_file(self) -> (File, u64) {
        (self.file, self.size_bytes)
    }
}

impl Source for FileSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl<T: Source + ?Sized> Source for &T {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }
}

impl Source for [u8] {
    fn size_bytes(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.get(start..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..read), rest.get(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }
}

impl Source for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.as_slice().size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_where_the_source_ends() {
        let bytes = b"0123456789";
        assert_eq!(Source::bytes(&bytes[..], 8, 100).expect("memory"), b"89");
        assert_eq!(Source::bytes(&bytes[..], 10, 100).expect("memory"), b"");
        assert_eq!(Source::bytes(&bytes[..], u64::MAX, 100).expect("memory"), b"");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        let file = FileSource::open(file.path()).expect("a file");
        assert_eq!((file.size_bytes(), file.bytes(8, 100).expect("a file").as_slice()), (10, &b"89"[..]));
        assert_eq!(file.bytes(u64::MAX >> 2, 4).expect("a file"), b"");
    }

    #[test]
    fn a_folder_is_no_crash_file() {
        assert!(matches!(FileSource::open(Path::new("/")), Err(Error::NotAFile)));
    }

    #[test]
    fn a_file_of_proc_is_told_and_not_taken_for_an_empty_one() {
        assert!(matches!(FileSource::open(Path::new("/proc/self/mem")), Err(Error::NoSize)));
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(FileSource::open(empty.path()).expect("a file").size_bytes(), 0);
    }
}
