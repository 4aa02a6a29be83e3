//! What is denied of files and folders: writing, removing, renaming, leaving.

use super::denied_and_audited;
use crate::action::{file, mount, uring};
use crate::guard::{apply, folder, program, rule};
use crate::test::Test;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test { name: "guard.write", claim: "a denied file is not written, cut or replaced", run: write },
    Test {
        name: "guard.write.under",
        claim: "a denied folder gets no new files, and none is changed",
        run: write_under,
    },
    Test { name: "guard.unlink", claim: "a denied name is not removed, nor replaced by a rename", run: unlink },
    Test { name: "guard.rename", claim: "a denied file is not renamed", run: rename },
    Test { name: "guard.leave", claim: "a file does not leave a denied folder by link or rename", run: leave },
];

fn write() -> Result<()> {
    let place = folder("write")?;
    let [denied, watched, other] = ["denied", "watched", "other"].map(|name| format!("{place}/{name}"));
    for path in [&denied, &watched, &other] {
        fs::write(path, "before\n")?;
    }
    apply(&[
        rule("no-write", "write", &format!("file: {denied}"), "enforce"),
        rule("watch-write", "write", &format!("file: {watched}"), "audit"),
    ])?;
    denied_and_audited(&file::write(&denied)?, &file::write(&watched)?, ("no-write", "watch-write"))?;
    file::truncate(&denied, "1")?.refused_with(libc::EPERM)?;
    file::rename(&other, &denied)?.refused_with(libc::EPERM)?;
    let shown = folder("write-shown")?;
    mount::in_bind(&place, &shown, &format!("file.write {shown}/denied"))?.refused_with(libc::EPERM)?;
    file::link(&denied, &format!("{place}/second"))?.done()?;
    file::write(&format!("{place}/second"))?.refused_with(libc::EPERM)?;
    file::read(&denied)?.done()?;
    ensure!(fs::read_to_string(&denied)? == "before\n", "it has changed");
    file::unlink(&format!("{place}/second"))?.done().context("a rule about writing denied an unlink").map(drop)
}

fn write_under() -> Result<()> {
    let [place, other] = [folder("written")?, folder("written-watched")?];
    fs::write(format!("{place}/old"), "before\n")?;
    apply(&[
        rule("no-change", "write", &format!("under: {place}"), "enforce"),
        rule("watch-change", "write", &format!("under: {other}"), "audit"),
    ])?;
    let pair = (file::create(&format!("{place}/new"))?, file::create(&format!("{other}/new"))?);
    denied_and_audited(&pair.0, &pair.1, ("no-change", "watch-change"))?;
    file::write(&format!("{place}/old"))?.refused_with(libc::EPERM)?;
    file::make_directory(&format!("{place}/folder"))?.refused_with(libc::EPERM)?;
    file::symlink("/etc/passwd", &format!("{place}/pointer"))?.refused_with(libc::EPERM)?;
    file::make_fifo(&format!("{place}/pipe"))?.refused_with(libc::EPERM)?;
    file::rename(&format!("{other}/new"), &format!("{place}/new"))?.refused_with(libc::EPERM)?;
    ensure!(fs::read_dir(&place)?.count() == 1, "something new is in the folder");
    Ok(())
}

fn unlink() -> Result<()> {
    let place = folder("unlink")?;
    let [denied, watched, other] = ["denied", "watched", "other"].map(|name| format!("{place}/{name}"));
    for path in [&denied, &watched, &other] {
        fs::write(path, "x")?;
    }
    apply(&[
        rule("no-unlink", "unlink", &format!("file: {denied}"), "enforce"),
        rule("watch-unlink", "unlink", &format!("file: {watched}"), "audit"),
    ])?;
    denied_and_audited(&file::unlink(&denied)?, &file::unlink(&watched)?, ("no-unlink", "watch-unlink"))?;
    file::rename(&other, &denied)?.refused_with(libc::EPERM)?;
    let shown = folder("unlink-shown")?;
    mount::in_bind(&place, &shown, &format!("file.unlink {shown}/denied"))?.refused_with(libc::EPERM)?;
    ensure!(Path::new(&denied).exists(), "it is gone");
    Ok(())
}

fn rename() -> Result<()> {
    let place = folder("rename")?;
    let [denied, watched] = ["denied", "watched"].map(|name| format!("{place}/{name}"));
    fs::write(&denied, "x")?;
    fs::write(&watched, "x")?;
    apply(&[
        rule("no-rename", "rename", &format!("file: {denied}"), "enforce"),
        rule("watch-rename", "rename", &format!("file: {watched}"), "audit"),
    ])?;
    let to = |name: &str| format!("{place}/{name}");
    let pair = (file::rename(&denied, &to("a"))?, file::rename(&watched, &to("b"))?);
    denied_and_audited(&pair.0, &pair.1, ("no-rename", "watch-rename"))?;
    file::write(&denied)?.done().context("a rule about renaming denied a write").map(drop)
}

fn leave() -> Result<()> {
    let [place, outside] = [folder("leave")?, folder("leave-outside")?];
    let inner = format!("{place}/inner");
    fs::create_dir(&inner)?;
    for name in ["a", "b", "inner/c"] {
        program(&format!("{place}/{name}"))?;
    }
    apply(&[rule("stay", "exec", &format!("under: {place}"), "enforce")])?;
    file::link(&format!("{place}/a"), &format!("{outside}/a"))?.refused_with(libc::EPERM)?;
    file::rename(&format!("{place}/a"), &format!("{outside}/a"))?.refused_with(libc::EPERM)?;
    file::rename(&inner, &format!("{outside}/inner"))?.refused_with(libc::EPERM)?;
    uring::link(&format!("{place}/a"), &format!("{outside}/a"))?.refused_with(libc::EPERM)?;
    file::rename(&format!("{inner}/c"), &format!("{place}/c"))?.done().context("moving within the folder")?;
    file::rename(&format!("{place}/b"), &format!("{inner}/b"))?.done().context("moving within the folder")?;
    ensure!(fs::read_dir(&outside)?.next().is_none(), "something has left");
    Ok(())
}
