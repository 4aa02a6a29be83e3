//! No way leads to a denied program: neither its names, nor ld.so, nor its contents, nor what takes its place.

use super::{denied_and_audited, sha256};
use crate::action::{file, memory, mount, process};
use crate::guard::{apply, counts, folder, program, rule, starts};
use crate::test::Test;
use crate::world;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "guard.exec.file",
        claim: "a denied program does not start, by whatever name it is reached",
        run: exec_file,
    },
    Test {
        name: "guard.exec.mapped",
        claim: "a denied program does not run by ld.so or as mapped code",
        run: exec_mapped,
    },
    Test { name: "guard.exec.sha256", claim: "denied contents do not run from a copy or a memfd", run: exec_sha256 },
    Test {
        name: "guard.exec.under",
        claim: "nothing in a denied folder starts, however deep or shown elsewhere",
        run: exec_under,
    },
    Test {
        name: "guard.exec.overlay",
        claim: "a denied program runs neither through an overlay nor as a copy in it",
        run: exec_overlay,
    },
    Test {
        name: "guard.exec.replaced",
        claim: "a file that takes a denied program's place is denied",
        run: exec_replaced,
    },
];

fn exec_file() -> Result<()> {
    let place = folder("exec")?;
    let [denied, watched, free] = ["denied", "watched", "free"].map(|name| format!("{place}/{name}"));
    for path in [&denied, &watched, &free] {
        program(path)?;
    }
    fs::hard_link(&denied, format!("{place}/second"))?;
    apply(&[
        rule("no-start", "exec", &format!("file: {denied}"), "enforce"),
        rule("watch-start", "exec", &format!("file: {watched}"), "audit"),
    ])?;
    denied_and_audited(&process::exec(&denied, "x")?, &process::exec(&watched, "x")?, ("no-start", "watch-start"))?;
    ensure!(starts(&free)?, "a program that no rule names does not start");
    ensure!(!starts(&format!("{place}/second"))?, "it starts by a hard link");
    std::os::unix::fs::symlink(&denied, format!("{place}/pointer"))?;
    ensure!(!starts(&format!("{place}/pointer"))?, "it starts by a symbolic link");
    fs::rename(&denied, format!("{place}/moved"))?;
    ensure!(!starts(&format!("{place}/moved"))?, "it starts after a rename");
    let shown = folder("exec-shown")?;
    mount::in_bind(&place, &shown, &format!("process.exec {shown}/moved x"))?.refused_with(libc::EPERM)?;
    let (denials, _) = counts("no-start")?;
    ensure!(denials == 5, "5 starts were denied, {denials} are counted");
    Ok(())
}

fn exec_mapped() -> Result<()> {
    let place = folder("mapped")?;
    let [denied, watched] = ["denied", "watched"].map(|name| format!("{place}/{name}"));
    program(&denied)?;
    program(&watched)?;
    let by_ldso = process::exec_via_ldso(&denied, "x")?;
    ensure!(by_ldso.status.success(), "ld.so does not start it even without a policy: {}", by_ldso.status);
    apply(&[
        rule("no-map", "exec", &format!("file: {denied}"), "enforce"),
        rule("watch-map", "exec", &format!("file: {watched}"), "audit"),
    ])?;
    let by_ldso = process::exec_via_ldso(&denied, "x")?;
    ensure!(!by_ldso.status.success(), "ld.so starts it");
    ensure!(process::exec_via_ldso(&watched, "x")?.status.success(), "ld.so does not start what is only watched");
    let maps = (memory::map_file_executable(&denied)?, memory::map_file_executable(&watched)?);
    denied_and_audited(&maps.0, &maps.1, ("no-map", "watch-map"))?;
    memory::protect_file_executable(&denied)?.refused_with(libc::EPERM)?;
    memory::protect_file_executable(&watched)?.done()?;
    file::read(&denied)?.done().context("reading is not running").map(drop)
}

fn exec_sha256() -> Result<()> {
    let place = folder("sha256")?;
    let [denied, watched, copy] = ["denied", "watched", "copy"].map(|name| format!("{place}/{name}"));
    program(&denied)?;
    program(&watched)?;
    fs::copy(&denied, &copy)?;
    apply(&[
        rule("no-contents", "exec", &format!("sha256: {}", sha256(&denied)?), "enforce"),
        rule("watch-contents", "exec", &format!("sha256: {}", sha256(&watched)?), "audit"),
    ])?;
    for path in [&denied, &copy] {
        ensure!(!starts(path)?, "{path} starts");
        ensure!(!starts(path)?, "{path} starts the second time, when its digest is known");
    }
    let by_memory = (memory::exec_memfd(&denied, "wt")?, memory::exec_memfd(&watched, "wt")?);
    denied_and_audited(&by_memory.0, &by_memory.1, ("no-contents", "watch-contents"))?;
    ensure!(!process::exec_via_ldso(&copy, "x")?.status.success(), "ld.so starts a copy");
    // Other contents in the same file, and the denied contents in a file that was allowed before.
    ensure!(starts(&watched)?, "a watched program does not start");
    fs::write(&copy, fs::read("/bin/true")?)?;
    ensure!(starts(&copy)?, "a file that was changed is judged by what it held before");
    fs::write(&copy, fs::read(&denied)?)?;
    ensure!(!starts(&copy)?, "a file that got the denied contents is judged by what it held before");
    Ok(())
}

fn exec_under() -> Result<()> {
    let [place, other] = [folder("under")?, folder("under-watched")?];
    let deep = format!("{place}/{}", ["d"; 60].join("/"));
    fs::create_dir_all(&deep)?;
    for path in [format!("{place}/top"), format!("{deep}/down"), format!("{other}/top")] {
        program(&path)?;
    }
    apply(&[
        rule("no-folder", "exec", &format!("under: {place}"), "enforce"),
        rule("watch-folder", "exec", &format!("under: {other}"), "audit"),
    ])?;
    let pair = (process::exec(&format!("{place}/top"), "x")?, process::exec(&format!("{other}/top"), "x")?);
    denied_and_audited(&pair.0, &pair.1, ("no-folder", "watch-folder"))?;
    ensure!(!starts(&format!("{deep}/down"))?, "it starts 60 folders down");
    program(&format!("{place}/later"))?;
    ensure!(!starts(&format!("{place}/later"))?, "a file that came after the policy starts");
    let shown = folder("under-shown")?;
    mount::in_bind(&deep, &shown, &format!("process.exec {shown}/down x"))?.refused_with(libc::EPERM)?;
    // A file system mounted inside is inside.
    let inner = format!("{place}/inner");
    fs::create_dir(&inner)?;
    mount::in_tmpfs(&inner, "/bin/true", &format!("process.exec {inner}/copy x"))?.refused_with(libc::EPERM)
}

fn exec_overlay() -> Result<()> {
    world::insert_module("overlay")?;
    let [lower, upper, place] = [folder("overlay-lower")?, folder("overlay-upper")?, folder("overlay-place")?];
    let denied = format!("{lower}/denied");
    program(&denied)?;
    program(&format!("{lower}/free"))?;
    let through = |act: &str| mount::in_overlay(&lower, &upper, &place, act);
    let starts_through = format!("process.exec {place}/denied x");
    ensure!(through(&starts_through)?.status.success(), "it does not start even without a policy");
    apply(&[rule("no-overlay", "exec", &format!("file: {denied}"), "enforce")])?;
    through(&starts_through)?.refused_with(libc::EPERM)?;
    ensure!(through(&format!("process.exec {place}/free x"))?.status.success(), "another file of the overlay");
    let by_ldso = through(&format!("process.exec_via_ldso {place}/denied x"))?;
    ensure!(!by_ldso.status.success(), "ld.so starts it through the overlay");
    through(&format!("file.write {place}/denied"))?.refused_with(libc::EPERM)?;
    ensure!(!Path::new(&format!("{upper}/changes/denied")).exists(), "it was copied up");
    through(&format!("file.write {place}/free"))?.done().map(drop)
}

fn exec_replaced() -> Result<()> {
    let place = folder("replaced")?;
    let denied = format!("{place}/denied");
    let fresh = format!("{place}/fresh");
    program(&denied)?;
    apply(&[rule("no-place", "exec", &format!("file: {denied}"), "enforce")])?;
    ensure!(!starts(&denied)?, "the file itself starts");
    program(&fresh)?;
    ensure!(starts(&fresh)?, "another file does not start");
    fs::rename(&fresh, &denied)?;
    ensure!(!starts(&denied)?, "what was renamed to its place starts");
    fs::remove_file(&denied)?;
    program(&denied)?;
    ensure!(!starts(&denied)?, "what was made anew in its place starts");
    Ok(())
}
