//! The same operation by another way: whatever the way, the sensor reports it with the process that wanted it and with the
//! identity of the real file. All of it is done in one go; each test asks for its own.

use super::Test;
use crate::action::{file, memory, mount, process, uring, Act};
use crate::product::{by, Events};
use crate::shared;
use crate::story::Story;
use crate::world;
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "bypass.io_uring",
        claim: "files opened, made, linked, renamed and removed by io_uring are reported",
        run: by_uring,
    },
    Test {
        name: "bypass.io_uring_connect",
        claim: "a connection opened by io_uring is reported",
        run: connect_by_uring,
    },
    Test { name: "bypass.symlink", claim: "a write through a symbolic link names the real file", run: through_symlink },
    Test {
        name: "bypass.hard_link",
        claim: "a write through a second name has the identity of the file",
        run: through_link,
    },
    Test {
        name: "bypass.bind_mount",
        claim: "a write through a bind mount has the identity of the file",
        run: through_bind,
    },
    Test {
        name: "bypass.overlay",
        claim: "a write through an overlay is reported with the file that is really written",
        run: through_overlay,
    },
    Test { name: "bypass.ldso", claim: "a program started by ld.so is in the arguments", run: by_ldso },
    Test { name: "bypass.script", claim: "a script started by its interpreter is in the arguments", run: by_shell },
    Test { name: "bypass.memfd", claim: "a program in memory is reported as such", run: in_memory },
];

const PLACE: &str = "/tmp/wt-bypass";

/// What was done, and what was said of it.
struct Seen {
    events: Events,
    uring: [Act; 5],
    uring_inode: u64,
    connect: Act,
    port: u16,
    symlink: Act,
    link: Act,
    bind: Act,
    overlay: Act,
    copy_inode: u64,
    ldso: Act,
    script: Act,
    memfd: Act,
}

fn seen() -> Result<&'static Seen> {
    static SEEN: Story<Seen> = Story::new();
    SEEN.told(do_all)
}

fn at(name: &str) -> String {
    format!("{PLACE}/{name}")
}

fn do_all() -> Result<Seen> {
    let _ = fs::remove_dir_all(PLACE);
    for folder in ["", "bind", "lower", "upper", "merged"] {
        fs::create_dir_all(at(folder)).context("making folders")?;
    }
    for name in ["real", "lower/file"] {
        fs::write(at(name), "before\n")?;
    }
    fs::write(at("script"), "exit 0\n")?;
    fs::hard_link(at("real"), at("second"))?;
    std::os::unix::fs::symlink(at("real"), at("symbolic"))?;
    world::insert_module("overlay")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;

    let watch = shared::watch()?;
    let create = uring::create(&at("made"))?;
    let uring_inode = fs::metadata(at("made"))?.ino();
    let uring = [
        create,
        uring::open(&at("made"))?,
        uring::link(&at("made"), &at("linked"))?,
        uring::rename(&at("made"), &at("renamed"))?,
        uring::unlink(&at("renamed"))?,
    ];
    let connect = uring::connect(&address.to_string())?;
    let symlink = file::write(&at("symbolic"))?;
    let link = file::write(&at("second"))?;
    let bind = mount::in_bind(PLACE, &at("bind"), &format!("file.write {}", at("bind/real")))?;
    let overlay =
        mount::in_overlay(&at("lower"), &at("upper"), &at("merged"), &format!("file.write {}", at("merged/file")))?;
    let ldso = process::exec_via_ldso("/bin/true", "wt-by-loader")?;
    let script = process::exec_via_sh(&at("script"), "wt-by-shell")?;
    let memfd = memory::exec_memfd("/bin/true", "wt-in-memory")?;
    let events = watch.events()?;
    for act in uring.iter().chain([&connect, &symlink, &link, &bind, &overlay, &ldso, &script, &memfd]) {
        act.done()?;
    }
    let copy_inode = fs::metadata(at("upper/changes/file")).context("nothing was copied up")?.ino();
    Ok(Seen {
        events,
        uring,
        uring_inode,
        connect,
        port: address.port(),
        symlink,
        link,
        bind,
        overlay,
        copy_inode,
        ldso,
        script,
        memfd,
    })
}

/// The act's event of this kind about this path.
fn event<'s>(seen: &'s Seen, act: &Act, kind: &str, path: &str) -> Result<&'s Value> {
    seen.events.expect(kind, |event| by(event, act) && event["file"]["path"] == path)
}

/// The identity of a file as fstat tells it is in the event. `st_dev` has 8 bits of the minor low and the rest high; the kernel's
/// own number has 20 bits of minor.
fn has_identity(event: &Value, path: &str) -> Result<()> {
    let file = fs::metadata(path)?;
    let kernel_dev = (u64::from(libc::major(file.dev())) << 20) | u64::from(libc::minor(file.dev()));
    ensure!(event["file"]["inode"] == file.ino(), "inode {}: {event}", file.ino());
    ensure!(event["file"]["dev"] == kernel_dev, "device {kernel_dev}: {event}");
    Ok(())
}

fn by_uring() -> Result<()> {
    let seen = seen()?;
    let [create, open, link, rename, unlink] = &seen.uring;
    event(seen, create, "file.create", &at("made"))?;
    let opened = event(seen, open, "file.open_write", &at("made"))?;
    let linked = event(seen, link, "file.link", &at("linked"))?;
    let renamed = event(seen, rename, "file.rename", &at("renamed"))?;
    let unlinked = event(seen, unlink, "file.unlink", &at("renamed"))?;
    ensure!(
        linked["file"]["old_path"] == at("made") && renamed["file"]["old_path"] == at("made"),
        "{linked} {renamed}"
    );
    for event in [opened, linked, renamed, unlinked] {
        ensure!(event["file"]["inode"] == seen.uring_inode, "inode {}: {event}", seen.uring_inode);
        ensure!(event["process"]["executable"] == "/init", "the process is not who submitted: {event}");
    }
    Ok(())
}

fn connect_by_uring() -> Result<()> {
    let seen = seen()?;
    let is_it = |event: &Value| event["network"]["remote"]["port"] == seen.port;
    let event = seen.events.expect("network.connect", |event| by(event, &seen.connect) && is_it(event))?;
    ensure!(event["network"]["remote"]["address"] == "127.0.0.1", "address: {event}");
    Ok(())
}

fn through_symlink() -> Result<()> {
    let seen = seen()?;
    has_identity(event(seen, &seen.symlink, "file.open_write", &at("real"))?, &at("real"))
}

fn through_link() -> Result<()> {
    let seen = seen()?;
    has_identity(event(seen, &seen.link, "file.open_write", &at("second"))?, &at("real"))
}

fn through_bind() -> Result<()> {
    let seen = seen()?;
    let mounted =
        seen.events.expect("mount.change", |event| by(event, &seen.bind) && event["file"]["path"] == at("bind"))?;
    ensure!(mounted["mount"]["source"] == PLACE, "what was bound is not told: {mounted}");
    has_identity(event(seen, &seen.bind, "file.open_write", &at("bind/real"))?, &at("real"))
}

fn through_overlay() -> Result<()> {
    let seen = seen()?;
    event(seen, &seen.overlay, "file.open_write", &at("merged/file"))?;
    let is_copy = |event: &Value| by(event, &seen.overlay) && event["file"]["inode"] == seen.copy_inode;
    let copied = seen.events.expect("file.open_write", is_copy)?;
    has_identity(copied, &at("upper/changes/file"))
}

fn by_ldso() -> Result<()> {
    let seen = seen()?;
    let exec = seen
        .events
        .expect("process.exec", |event| by(event, &seen.ldso) && event["process"]["argv"][2] == "wt-by-loader")?;
    let process = &exec["process"];
    ensure!(process["executable"].as_str().is_some_and(|path| path.contains("ld-linux")), "executable: {exec}");
    ensure!(process["argv"][1] == "/bin/true", "the program is not in the arguments: {exec}");
    Ok(())
}

fn by_shell() -> Result<()> {
    let seen = seen()?;
    let exec = seen
        .events
        .expect("process.exec", |event| by(event, &seen.script) && event["process"]["argv"][2] == "wt-by-shell")?;
    ensure!(exec["process"]["argv"][1] == at("script"), "the script is not in the arguments: {exec}");
    Ok(())
}

fn in_memory() -> Result<()> {
    let seen = seen()?;
    let exec =
        seen.events.expect("process.exec", |event| by(event, &seen.memfd) && event["process"]["is_memfd"] == true)?;
    ensure!(exec["process"]["executable"] == "/memfd:wt-in-memory", "executable: {exec}");
    Ok(())
}
