//! Other ways to the same operation: the actions with which bypass tests go round a name, a mount or a system call. Here each
//! must really do what it says, so that a bypass test can't pass because its detour led nowhere.

use super::Test;
use crate::action::{file, mount, process, storm, uring};
use crate::world;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "action.uring.files",
        claim: "files are opened, made, linked, renamed, removed by io_uring",
        run: files,
    },
    Test { name: "action.uring.connect", claim: "TCP is connected by io_uring, IPv4 and IPv6", run: connects },
    Test {
        name: "action.process.exec_by_others",
        claim: "a program is started by ld.so, a script by sh",
        run: by_others,
    },
    Test { name: "action.mount.in_bind", claim: "an action goes through a bind mount to the same file", run: in_bind },
    Test { name: "action.mount.in_overlay", claim: "an action through an overlay copies the file up", run: in_overlay },
    Test { name: "action.storms", claim: "unlinks, connections and processes come in numbers", run: storms },
];

fn folder(name: &str) -> Result<String> {
    let path = format!("/tmp/wt-{name}");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).with_context(|| format!("making {path}"))?;
    Ok(path)
}

fn files() -> Result<()> {
    let place = folder("uring")?;
    let [first, second, third] = ["first", "second", "third"].map(|name| format!("{place}/{name}"));
    uring::create(&first)?.done()?;
    let inode = fs::metadata(&first)?.ino();
    uring::create(&first)?.refused_with(libc::EEXIST)?;
    uring::open(&first)?.done()?;
    uring::open(&second)?.refused_with(libc::ENOENT)?;
    uring::link(&first, &second)?.done()?;
    ensure!(fs::metadata(&second)?.ino() == inode, "the second name is another file");
    uring::rename(&second, &third)?.done()?;
    ensure!(fs::metadata(&third)?.ino() == inode, "the new name is another file");
    uring::unlink(&first)?.done()?;
    ensure!(!Path::new(&first).exists(), "the name is still there");
    uring::unlink(&first)?.refused_with(libc::ENOENT)
}

fn connects() -> Result<()> {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address)?;
        let place = listener.local_addr()?;
        uring::connect(&place.to_string())?.done()?;
        listener.accept()?;
        drop(listener);
        uring::connect(&place.to_string())?.refused_with(libc::ECONNREFUSED)?;
    }
    Ok(())
}

fn by_others() -> Result<()> {
    let act = process::exec_via_ldso("/bin/true", "wt")?;
    ensure!(act.status.success(), "ld.so ended with {}", act.status);
    process::exec_via_ldso("/bin/no-such-program", "wt")?.done()?;
    let script = format!("{}/script", folder("script")?);
    fs::write(&script, "exit 43\n")?;
    let act = process::exec_via_sh(&script, "wt")?;
    ensure!(act.status.code() == Some(43), "the script ended with {}", act.status);
    Ok(())
}

fn in_bind() -> Result<()> {
    let (real, shown) = (folder("bind-real")?, folder("bind-shown")?);
    fs::write(format!("{real}/file"), "x")?;
    mount::in_bind(&real, &shown, &format!("file.unlink {shown}/file"))?.done()?;
    ensure!(!Path::new(&format!("{real}/file")).exists(), "the real file is still there");
    mount::in_bind(&real, &shown, &format!("file.unlink {shown}/file"))?.refused_with(libc::ENOENT)
}

fn in_overlay() -> Result<()> {
    world::insert_module("overlay")?;
    let [lower, upper, place] = [folder("overlay-lower")?, folder("overlay-upper")?, folder("overlay-place")?];
    fs::write(format!("{lower}/file"), "below\n")?;
    mount::in_overlay(&lower, &upper, &place, &format!("file.write {place}/file"))?.done()?;
    ensure!(fs::read_to_string(format!("{lower}/file"))? == "below\n", "the lower file has changed");
    let copy = fs::read_to_string(format!("{upper}/changes/file")).context("no copy in the upper layer")?;
    ensure!(copy == "below\nwritten\n", "the copy holds {copy:?}");
    Ok(())
}

fn storms() -> Result<()> {
    let place = folder("storms")?;
    ensure!(storm::unlink(&place, "500")?.number("count")? == 500, "unlinks");
    ensure!(fs::read_dir(&place)?.next().is_none(), "a file is left");
    ensure!(storm::connect("100")?.number("count")? == 100, "connections");
    ensure!(storm::exec("200")?.number("count")? == 200, "processes");
    file::storm(&place, "10")?.done()?;
    Ok(())
}
