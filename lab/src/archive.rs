//! An initramfs in the one form that every kernel unpacks: cpio "newc", uncompressed.
//!
//! Written here and not by `cpio`, so that owners and device nodes need no root and no tree on disk. Several archives may
//! follow each other in one file: the kernel unpacks them all, which lets a boot add its job to a shared base.

use std::collections::BTreeMap;

const ALIGNMENT_BYTES: usize = 4;
const TRAILER: &str = "TRAILER!!!";

/// File system objects by absolute path. Parents are made as needed.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// A folder.
    pub fn directory(&mut self, path: &str, permissions: u32) {
        self.add(path, DIRECTORY | permissions, (0, 0), Vec::new());
    }

    /// A regular file.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        self.add(path, FILE | permissions, (0, 0), content);
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, SYMLINK | 0o777, (0, 0), target.as_bytes().to_vec());
    }

    /// A character device node.
    pub fn device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.add(path, CHARACTER_DEVICE | permissions, (major, minor), Vec::new());
    }

    /// Whether something was added under this path.
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_start_matches('/'))
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let Some(parent) = path.get(..end) else { continue };
            self.entries.entry(parent.to_owned()).or_insert_with(|| Entry {
                mode: DIRECTORY | 0o755,
                device: (0, 0),
                content: Vec::new(),
            });
        }
        self.entries.insert(path.to_owned(), Entry { mode, device, content });
    }

    /// The archive's bytes. The map's order puts a folder before what lies in it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (path, entry)) in (1_u32..).zip(&self.entries) {
            append(&mut out, inode, path, entry);
        }
        append(&mut out, 0, TRAILER, &Entry { mode: 0, device: (0, 0), content: Vec::new() });
        out
    }
}

fn append(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let links = if entry.mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let fields = [
        u64::from(inode),
        u64::from(entry.mode),
        0, // owner
        0, // group
        links,
        0, // time of change
        entry.content.len() as u64,
        0, // the archive's own device: major
        0, // and minor
        u64::from(entry.device.0),
        u64::from(entry.device.1),
        path.len() as u64 + 1,
        0, // checksum: unused in this form
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(&entry.content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT_BYTES), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_its_folders_and_they_come_first() {
        let mut archive = Archive::default();
        archive.file("/lib/modules/a.ko", 0o644, b"abc".to_vec());
        let names: Vec<&str> = archive.entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["lib", "lib/modules", "lib/modules/a.ko"]);
    }

    #[test]
    fn every_part_of_the_archive_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/a", 0o644, b"12345".to_vec());
        let bytes = archive.to_bytes();
        assert_eq!(bytes.len() % ALIGNMENT_BYTES, 0);
        assert!(bytes.starts_with(b"070701"));
        assert!(bytes.windows(TRAILER.len()).any(|part| part == TRAILER.as_bytes()));
    }
}
