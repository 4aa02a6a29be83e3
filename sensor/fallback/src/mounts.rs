//! Which filesystems are mounted, from `/proc/self/mountinfo`: each one once, by its best mount.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Kernel interfaces that look like filesystems. Nothing is stored there, and marks on them are refused or useless.
const NOT_STORAGE: [&str; 23] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "bpf",
    "debugfs",
    "tracefs",
    "securityfs",
    "pstore",
    "mqueue",
    "hugetlbfs",
    "fusectl",
    "configfs",
    "binfmt_misc",
    "autofs",
    "efivarfs",
    "selinuxfs",
    "smackfs",
    "rpc_pipefs",
    "nsfs",
    "nfsd",
    "binder",
];

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the filesystem: the same for each of its mounts.
    pub device: String,
    /// The part of the filesystem that is mounted; `/` for all of it.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Filesystem type.
    pub filesystem: String,
}

/// Parses mountinfo: one mount a line; a line that doesn't parse is left out.
#[must_use]
pub fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let root = fields.next()?;
    let point = fields.next()?;
    let filesystem = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount {
        device: std::str::from_utf8(device).ok()?.to_owned(),
        root: unescape(root),
        point: unescape(point),
        filesystem: std::str::from_utf8(filesystem).ok()?.to_owned(),
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| tail.first_chunk::<3>().and_then(octal)).flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// Each filesystem that stores files, once. Of several mounts of one filesystem, one that shows its root is preferred
/// (only from there can every file be reached by its handle), then the one whose path is shortest.
#[must_use]
pub fn storage(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut chosen: Vec<Mount> = Vec::new();
    for mount in mounts.into_iter().filter(|mount| !NOT_STORAGE.contains(&mount.filesystem.as_str())) {
        match chosen.iter_mut().find(|other| other.device == mount.device) {
            None => chosen.push(mount),
            Some(other) if rank(&mount) < rank(other) => *other = mount,
            Some(_) => {}
        }
    }
    chosen
}

fn rank(mount: &Mount) -> (bool, usize) {
    (mount.root.as_os_str().as_bytes() != b"/", mount.point.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
40 27 254:0 /srv /a rw - ext4 /dev/vda rw
41 27 0:40 /part /b rw - tmpfs tmpfs rw
42 27 0:40 / /mnt/with\\040space rw - tmpfs tmpfs rw
";

    #[test]
    fn each_filesystem_is_chosen_once_by_the_mount_that_shows_its_root() {
        let chosen = storage(parse(TABLE));
        let points: Vec<_> = chosen.iter().map(|mount| mount.point.to_string_lossy().into_owned()).collect();
        assert_eq!(points, ["/", "/mnt/with space"]);
    }

    #[test]
    fn broken_lines_are_left_out() {
        assert!(parse(b"\n1 2\n1 2 3 4 5 6 7 8\n1 2 3 4 5 6 -\n\xff\xfe").is_empty());
        assert_eq!(unescape(b"a\\04"), PathBuf::from("a\\04"));
        assert_eq!(unescape(b"a\\999"), PathBuf::from("a\\999"));
        assert_eq!(unescape(b"\\134"), PathBuf::from("\\"));
    }

    #[test]
    fn this_machine_has_a_root() {
        let table = std::fs::read("/proc/self/mountinfo").expect("every process can read its mounts");
        assert!(parse(&table).iter().any(|mount| mount.point.as_os_str() == "/"));
    }
}
