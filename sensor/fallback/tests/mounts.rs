//! File systems that come and go while fanotify watches. The trial mounts, so it runs in a mount namespace of its own: the
//! test starts this same program there for the inner half.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use support::{collect, permitted, Scratch};
use watertight_sensor_fallback::fanotify::Options;
use watertight_sensor_fallback::{Fanotify, Observed};

#[test]
fn a_filesystem_mounted_later_is_watched_can_be_unmounted_and_is_watched_again() {
    let program = std::env::current_exe().expect("this program");
    let inner = Command::new("unshare").arg("--mount").arg(program).args(["--ignored", "--exact", "inner"]).output();
    let inner = inner.expect("unshare is part of util-linux");
    let said = String::from_utf8_lossy(&inner.stdout).into_owned() + &String::from_utf8_lossy(&inner.stderr);
    if said.contains("unshare failed: Operation not permitted") {
        println!("skipped: a mount namespace is not permitted here");
        return;
    }
    assert!(inner.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "mounts: started by the other test in a namespace of its own"]
fn inner() {
    let scratch = Scratch::new("mounts");
    let place = scratch.path().join("later");
    fs::create_dir(&place).expect("a place to mount on");
    let Some(mut source) = permitted(Fanotify::open(Options::default())) else { return };
    let table = File::open("/proc/self/mountinfo").expect("every process can read its mounts");
    for round in 0..2 {
        assert!(!source.watched().contains(&place), "round {round}: nothing is mounted yet");
        mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).expect("a mount of our own");
        assert!(has_changed(&table), "round {round}: the table of mounts tells of a mount");
        assert_eq!(source.mark_new().expect("marks").begun, std::slice::from_ref(&place));
        fs::write(place.join("file"), b"x").expect("create");
        let seen = collect(|sink| source.drain(sink), |seen| has_file(seen, &place));
        assert!(has_file(&seen, &place), "round {round}: what is done there is seen");
        unmount(&place, UnmountFlags::empty()).expect("nothing of ours keeps it busy");
        assert!(has_changed(&table), "round {round}: the table of mounts tells of an unmount");
        assert_eq!(source.mark_new().expect("marks").ended, std::slice::from_ref(&place));
    }
}

fn has_file(seen: &[Observed], place: &Path) -> bool {
    seen.iter().any(|observed| {
        matches!(observed, Observed::File(change)
            if change.name == b"file" && change.directory.as_deref() == Some(place))
    })
}

/// A second is far more than the kernel needs: it says so within the call that mounts.
fn has_changed(table: &File) -> bool {
    let mut fds = [PollFd::new(table, PollFlags::PRI)];
    poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).is_ok_and(|ready| ready == 1)
}
