//! Mounts, each in a mount namespace of its own, so that nothing is left for the next test. Those that `_for_all` names
//! act on the namespace that everybody shares: for attempts that the product must refuse.

use super::{actions, check};
use rustix::fs::CWD;
use rustix::mount::{
    fsconfig_create, fsmount, fsopen, mount, mount_bind, mount_change, mount_move, move_mount, unmount, FsMountFlags,
    FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use serde_json::json;
use std::ffi::CString;
use std::fs;
use std::io;

actions! {
    /// Mounts a tmpfs at a folder.
    "mount.mount" => mount_tmpfs(place) {
        own_namespace()?;
        tmpfs(place)?;
        Ok(json!(null))
    }

    /// Mounts a tmpfs at a folder and takes it away.
    "mount.unmount" => unmount_tmpfs(place) {
        own_namespace()?;
        tmpfs(place)?;
        unmount(place, UnmountFlags::empty())?;
        Ok(json!(null))
    }

    /// Shows a folder at a second place.
    "mount.bind" => bind(from, to) {
        own_namespace()?;
        mount_bind(from, to)?;
        Ok(json!(null))
    }

    /// Shows a folder at a second place and does another action there, named as in `file.unlink /second/x`.
    "mount.in_bind" => in_bind(from, to, act) {
        own_namespace()?;
        mount_bind(from, to)?;
        super::perform_here(act)
    }

    /// Mounts a tmpfs at a folder, copies a program into it as `copy`, and does another action there.
    "mount.in_tmpfs" => in_tmpfs(place, program, act) {
        own_namespace()?;
        tmpfs(place)?;
        fs::copy(program, format!("{place}/copy"))?;
        super::perform_here(act)
    }

    /// Lays an overlay over a folder, with an upper layer in `upper`, and does another action there: one that writes to a file
    /// of the lower folder copies it up first. Needs the module `overlay`, and an upper folder that is on no overlay itself.
    "mount.in_overlay" => in_overlay(lower, upper, place, act) {
        own_namespace()?;
        let (changes, work) = (format!("{upper}/changes"), format!("{upper}/work"));
        fs::create_dir_all(&changes)?;
        fs::create_dir_all(&work)?;
        let options = CString::new(format!("lowerdir={lower},upperdir={changes},workdir={work}"))?;
        mount("overlay", place, "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
        super::perform_here(act)
    }

    /// Mounts a tmpfs by the new calls: fsopen, fsconfig, fsmount, move_mount.
    "mount.move_mount" => attach(place) {
        own_namespace()?;
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let detached = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&detached, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(json!(null))
    }

    /// Takes a mount away from everybody.
    "mount.unmount_for_all" => unmount_for_all(place) {
        unmount(place, UnmountFlags::empty())?;
        Ok(json!(null))
    }

    /// Takes a mount out of everybody's sight, though it may be in use.
    "mount.unmount_lazily_for_all" => unmount_lazily_for_all(place) {
        unmount(place, UnmountFlags::DETACH)?;
        Ok(json!(null))
    }

    /// The same in a namespace of its own, into which and out of which nothing propagates.
    "mount.unmount_lazily" => unmount_lazily(place) {
        own_namespace()?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        unmount(place, UnmountFlags::DETACH)?;
        Ok(json!(null))
    }

    /// The same in a namespace whose mounts share with everybody's, if `mount.share_for_all` was done.
    "mount.unmount_lazily_beside" => unmount_lazily_beside(place) {
        own_namespace()?;
        unmount(place, UnmountFlags::DETACH)?;
        Ok(json!(null))
    }

    /// From now on new namespaces share what is mounted with everybody, as systemd has it.
    "mount.share_for_all" => share_for_all() {
        mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
        Ok(json!(null))
    }

    /// Takes that back.
    "mount.keep_for_all" => keep_for_all() {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(json!(null))
    }

    /// Moves a mount elsewhere for everybody, by the old call.
    "mount.move_for_all" => move_for_all(from, to) {
        mount_move(from, to)?;
        Ok(json!(null))
    }

    /// Covers a folder with a tmpfs for everybody.
    "mount.mount_for_all" => mount_for_all(place) {
        tmpfs(place)?;
        Ok(json!(null))
    }

    /// Moves a mount elsewhere for everybody, by the new call.
    "mount.move_mount_for_all" => move_mount_for_all(from, to) {
        move_mount(CWD, from, CWD, to, MoveMountFlags::empty())?;
        Ok(json!(null))
    }

    /// Swaps the root for a tmpfs made at a folder. The initramfs can't be pivoted away from, so a tmpfs is put over it first.
    "mount.pivot_root" => pivot(place) {
        own_namespace()?;
        tmpfs(place)?;
        std::env::set_current_dir(place)?;
        mount_move(".", "/")?;
        rustix::process::chroot(".")?;
        fs::create_dir_all("/next")?;
        tmpfs("/next")?;
        fs::create_dir_all("/next/previous")?;
        rustix::process::pivot_root("/next", "/next/previous")?;
        Ok(json!(null))
    }
}

fn own_namespace() -> io::Result<()> {
    // SAFETY: unshare takes no pointer; the acting process has one thread.
    check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS) })).map(|_| ())
}

fn tmpfs(place: &str) -> io::Result<()> {
    Ok(mount("tmpfs", place, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>)?)
}
