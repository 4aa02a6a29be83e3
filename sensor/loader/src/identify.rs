//! The kernel's own identity of open files, asked of the kernel: device, inode number and generation as its hooks see them.
//!
//! stat(2) does not do: on btrfs and overlayfs it tells a device that no hook ever sees, and it knows no generation. So an
//! iterator over open files runs in this process and says of each descriptor what the kernel has behind it.

use std::cell::OnceCell;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use libbpf_rs::{Iter, IterOpts, Link, Object, ObjectBuilder};
use watertight_sensor_abi::{Identity, OpenFile};

use crate::objects::IDENTIFY;
use crate::trial;

/// The identity of each file, in the order given.
///
/// # Errors
/// The kernel refuses BPF iterators, or a descriptor is none of this process.
pub fn identify(files: &[BorrowedFd<'_>]) -> Result<Vec<Identity>> {
    let open = open_files().map_err(|error| {
        let why = trial::root_cause(&error);
        error.context(format!("asking the kernel for the identity of files ({why})"))
    })?;
    files.iter().map(|file| find(&open, file.as_raw_fd())).collect()
}

fn find(open: &[OpenFile], fd: i32) -> Result<Identity> {
    let found = open.iter().find(|file| i64::from(file.fd) == i64::from(fd));
    let file = found.with_context(|| format!("the kernel's list of our open files lacks descriptor {fd}"))?;
    Ok(Identity { inode: file.inode, dev: file.dev, generation: file.generation })
}

thread_local! {
    /// The loaded iterator: a policy asks hundreds of times, and a load costs more than all answers.
    static ITERATOR: OnceCell<Iterator> = const { OnceCell::new() };
}

/// The iterator's program, attached; its object must live as long.
struct Iterator {
    link: Link,
    _object: Object,
}

fn open_files() -> Result<Vec<OpenFile>> {
    ITERATOR.with(|iterator| {
        if iterator.get().is_none() {
            let object = ObjectBuilder::default().open_memory(IDENTIFY.verified()?)?.load()?;
            let program = object.progs_mut().next().context("the identify object has no program")?;
            let link = program.attach_iter_with_opts(IterOpts::None)?;
            let _ = iterator.set(Iterator { link, _object: object }); // empty, as was just seen
        }
        let iterator = iterator.get().context("the iterator was just made")?;
        let mut records = Vec::new();
        Iter::new(&iterator.link)?.read_to_end(&mut records)?;
        Ok(records.chunks_exact(OpenFile::BYTES).filter_map(OpenFile::read).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(fd: u32, inode: u64) -> OpenFile {
        OpenFile { fd, inode, dev: 8, generation: 1, reserved: 0 }
    }

    #[test]
    fn the_kernel_tells_the_inode_that_is_open() {
        use std::os::fd::AsFd as _;
        use std::os::unix::fs::MetadataExt as _;
        let file = std::fs::File::open("/proc/self/exe").expect("our own executable");
        match identify(&[file.as_fd()]) {
            Ok(found) => {
                let inode = file.metadata().expect("it is open").ino();
                assert_eq!(found.iter().map(|identity| identity.inode).collect::<Vec<_>>(), [inode]);
            }
            Err(error) => println!("skipped: no BPF iterator here ({error:#})"),
        }
    }

    #[test]
    fn each_descriptor_gets_its_own_files_identity_and_an_unknown_one_none() {
        let list = [open(3, 30), open(7, 70)];
        assert_eq!(find(&list, 7).expect("listed"), Identity { inode: 70, dev: 8, generation: 1 });
        assert!(find(&list, 4).expect_err("not listed").to_string().contains("descriptor 4"));
    }
}
