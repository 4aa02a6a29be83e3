//! Every action of the library does on this kernel what its name says: a test that sees no event may then blame the sensor.

use super::Test;
use crate::action::{file, kernel, memory, mount, network, process, Act, NOBODY};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "action.process.fork",
        claim: "a fork gives a child",
        run: || {
            let act = process::fork()?;
            ensure!(act.number("child")? != u64::from(act.pid), "the child is the parent");
            Ok(())
        },
    },
    Test {
        name: "action.process.exec",
        claim: "a program can be given 5,000 arguments",
        run: || {
            let act = process::exec_many("wt-argument", "5000")?;
            act.done()?;
            ensure!(act.status.success(), "ended with {}", act.status);
            process::exec("/bin/no-such-program", "wt")?.refused_with(libc::ENOENT)
        },
    },
    Test {
        name: "action.process.exit",
        claim: "an exit code arrives",
        run: || {
            let act = process::exit_with("42")?;
            ensure!(act.status.code() == Some(42), "ended with {}", act.status);
            Ok(())
        },
    },
    Test {
        name: "action.process.exit_by_signal",
        claim: "a process ends by its own signal",
        run: || {
            let act = process::exit_by_signal("11")?;
            ensure!(act.status.signal() == Some(libc::SIGSEGV), "ended with {}", act.status);
            Ok(())
        },
    },
    Test {
        name: "action.process.set_uid",
        claim: "root becomes nobody",
        run: || {
            ensure!(process::set_uid("65534")?.number("uid")? == 65534, "another user id");
            Ok(())
        },
    },
    Test {
        name: "action.process.drop_capabilities",
        claim: "capabilities can be dropped",
        run: || {
            process::drop_capabilities()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.process.new_user_namespace",
        claim: "a user namespace can be made",
        run: || {
            process::new_user_namespace()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.process.kill",
        claim: "a process ends by another's signal",
        run: || {
            ensure!(process::kill("15")?.number("victim")? > 1, "no victim");
            Ok(())
        },
    },
    Test { name: "action.file.names", claim: "a file is created, linked, renamed and removed", run: names },
    Test { name: "action.file.contents", claim: "a file is written, read and cut", run: contents },
    Test { name: "action.file.attributes", claim: "mode, owner and extended attributes change", run: attributes },
    Test { name: "action.file.fifo", claim: "a named pipe is made and opened", run: fifo },
    Test { name: "action.network.unix", claim: "UNIX sockets are bound and connected", run: unix_sockets },
    Test { name: "action.network.tcp", claim: "TCP listens, connects and accepts, IPv4 and IPv6", run: tcp },
    Test { name: "action.network.udp", claim: "a datagram is sent to a new peer, IPv4 and IPv6", run: udp },
    Test {
        name: "action.memory.map_file_executable",
        claim: "a file is mapped as code",
        run: || {
            memory::map_file_executable("/bin/true")?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.memory.make_executable",
        claim: "a writable page becomes code",
        run: || {
            memory::make_executable()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.memory.exec_memfd",
        claim: "a program runs from memory alone",
        run: || {
            let act = memory::exec_memfd("/bin/true", "wt-memfd")?;
            act.done()?;
            ensure!(act.status.success(), "ended with {}", act.status);
            Ok(())
        },
    },
    Test {
        name: "action.memory.trace",
        claim: "a process is traced",
        run: || {
            memory::trace()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.memory.write_proc_mem",
        claim: "memory is written through /proc",
        run: || {
            memory::write_proc_mem()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.memory.write_process_vm",
        claim: "memory is written by process_vm_writev",
        run: || {
            ensure!(memory::write_process_vm()?.number("bytes")? == 8, "not all was written");
            Ok(())
        },
    },
    Test {
        name: "action.kernel.module",
        claim: "a stock module is loaded and unloaded",
        run: || {
            kernel::insert_module("dummy")?.done()?;
            ensure!(Path::new("/sys/module/dummy").exists(), "the kernel does not list it");
            kernel::remove_module("dummy")?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.kernel.bpf",
        claim: "a BPF map is made and a program loaded",
        run: || {
            kernel::bpf_map("wt_map")?.done()?;
            kernel::bpf_program("wt_program")?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.kernel.perf_event",
        claim: "a performance counter opens",
        run: || {
            kernel::perf_event()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.kernel.io_uring_sqpoll",
        claim: "an io_uring with a polling thread is made",
        run: || {
            kernel::io_uring_sqpoll()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.kernel.set_clock",
        claim: "the wall clock is set",
        run: || {
            kernel::set_clock()?.done()?;
            Ok(())
        },
    },
    Test {
        name: "action.mount",
        claim: "file systems are mounted, bound, moved, taken away and pivoted to",
        run: mounts,
    },
    Test {
        name: "action.as_nobody",
        claim: "nobody is refused what root may",
        run: || {
            Act::perform_as(NOBODY, "kernel.bpf_map", &["wt_nobody"])?.refused_with(libc::EPERM)?;
            Act::perform_as(NOBODY, "file.create", &["/etc/wt-nobody"])?.refused_with(libc::EACCES)
        },
    },
    Test {
        name: "action.storm",
        claim: "many processes and files come and go quickly",
        run: || {
            ensure!(process::storm("50")?.number("runs")? == 50, "fewer runs");
            ensure!(file::storm(&folder("storm")?, "500")?.number("files")? == 500, "fewer files");
            Ok(())
        },
    },
    Test {
        name: "action.kernel.bpf_pins",
        claim: "a BPF map is pinned, opened by path, found and opened by id",
        run: bpf_pins,
    },
    Test {
        name: "action.mount.for_all",
        claim: "root can move and take away a mount that everybody sees",
        run: mounts_for_all,
    },
];

/// An empty folder of a test's own under /tmp.
fn folder(name: &str) -> Result<String> {
    let path = format!("/tmp/wt-{name}");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).with_context(|| format!("making {path}"))?;
    Ok(path)
}

fn names() -> Result<()> {
    let place = folder("names")?;
    let [first, second, third, symbolic, inner] =
        ["first", "second", "third", "symbolic", "inner"].map(|name| format!("{place}/{name}"));
    let inode = file::create(&first)?.number("inode")?;
    ensure!(fs::metadata(&first)?.ino() == inode, "another inode");
    file::create(&first)?.refused_with(libc::EEXIST)?;
    file::link(&first, &second)?.done()?;
    ensure!(fs::metadata(&second)?.ino() == inode, "the second name is another file");
    file::rename(&second, &third)?.done()?;
    file::symlink(&third, &symbolic)?.done()?;
    ensure!(fs::metadata(&symbolic)?.ino() == inode, "the symbolic link leads elsewhere");
    file::unlink(&first)?.done()?;
    ensure!(!Path::new(&first).exists(), "the name is still there");
    file::make_directory(&inner)?.done()?;
    file::remove_directory(&inner)?.done()?;
    ensure!(!Path::new(&inner).exists(), "the folder is still there");
    Ok(())
}

fn contents() -> Result<()> {
    let path = format!("{}/file", folder("contents")?);
    file::create(&path)?.done()?;
    file::write(&path)?.done()?;
    ensure!(file::read(&path)?.number("bytes")? == 8, "another length");
    file::truncate(&path, "3")?.done()?;
    ensure!(fs::read(&path)? == b"wri", "cut elsewhere");
    Ok(())
}

fn attributes() -> Result<()> {
    let path = format!("{}/file", folder("attributes")?);
    file::create(&path)?.done()?;
    file::chmod(&path, "4711")?.done()?;
    file::chown(&path, "65534")?.done()?;
    file::chmod(&path, "4711")?.done()?;
    file::set_xattr(&path, "trusted.wt", "marked")?.done()?;
    let metadata = fs::metadata(&path)?;
    ensure!(metadata.mode() & 0o7777 == 0o4711, "mode {:o}", metadata.mode());
    ensure!(metadata.uid() == 65534, "owner {}", metadata.uid());
    Ok(())
}

fn fifo() -> Result<()> {
    let path = format!("{}/pipe", folder("fifo")?);
    file::make_fifo(&path)?.done()?;
    ensure!(fs::metadata(&path)?.file_type().is_fifo(), "it is no pipe");
    file::open_fifo(&path)?.done()?;
    Ok(())
}

fn unix_sockets() -> Result<()> {
    let place = folder("unix")?;
    network::unix_listen(&format!("{place}/theirs"))?.done()?;
    let ours = format!("{place}/ours");
    let _listener = UnixListener::bind(&ours)?;
    network::unix_connect(&ours)?.done()?;
    network::unix_connect(&format!("{place}/theirs"))?.refused_with(libc::ECONNREFUSED)
}

fn tcp() -> Result<()> {
    for host in ["127.0.0.1", "[::1]"] {
        let any_port = format!("{host}:0");
        network::tcp_listen(&any_port)?.number("port")?;
        let listener = TcpListener::bind(&any_port)?;
        let port = network::tcp_connect(&listener.local_addr()?.to_string())?.number("port")?;
        ensure!(u64::from(listener.accept()?.1.port()) == port, "somebody else called");
        network::tcp_accept(&any_port)?.number("peer_port")?;
    }
    Ok(())
}

fn udp() -> Result<()> {
    for host in ["127.0.0.1", "[::1]"] {
        let receiver = UdpSocket::bind(format!("{host}:0"))?;
        let port = network::udp_send(&receiver.local_addr()?.to_string())?.number("port")?;
        let (_, peer) = receiver.recv_from(&mut [0; 16])?;
        ensure!(u64::from(peer.port()) == port, "somebody else sent");
    }
    Ok(())
}

fn mounts() -> Result<()> {
    let place = folder("mounts")?;
    let before = fs::read_to_string("/proc/mounts")?;
    mount::mount_tmpfs(&place)?.done()?;
    mount::unmount_tmpfs(&place)?.done()?;
    mount::bind("/etc", &place)?.done()?;
    mount::attach(&place)?.done()?;
    mount::pivot(&place)?.done()?;
    ensure!(fs::read_to_string("/proc/mounts")? == before, "a mount was left behind");
    Ok(())
}

fn mounts_for_all() -> Result<()> {
    let (from, to) = (folder("for-all-from")?, folder("for-all-to")?);
    let see = |place: &str| -> Result<bool> { Ok(fs::read_to_string("/proc/mounts")?.contains(place)) };
    let shell = |text: String| std::process::Command::new("/bin/sh").args(["-c", &text]).status();
    ensure!(shell(format!("mount -t tmpfs none {from}"))?.success(), "mount failed");
    mount::move_for_all(&from, &to)?.done()?;
    ensure!(!see(&from)? && see(&to)?, "it was not moved");
    mount::unmount_for_all(&to)?.done()?;
    ensure!(!see(&to)?, "it is still there");
    ensure!(shell(format!("mount -t tmpfs none {from}"))?.success(), "mount failed");
    mount::unmount_lazily_for_all(&from)?.done()?;
    ensure!(!see(&from)?, "it is still there");
    Ok(())
}

fn bpf_pins() -> Result<()> {
    crate::world::mount_bpf()?;
    let pin = "/sys/fs/bpf/wt-pin";
    let ids = || -> Result<Vec<String>> {
        let act = kernel::bpf_map_ids()?;
        let ids = act.done()?["ids"].as_array().context("no list")?.iter().map(ToString::to_string).collect();
        Ok(ids)
    };
    let before = ids()?;
    kernel::bpf_pin("wt_pinned", pin)?.done()?;
    kernel::bpf_open_pin(pin)?.done()?;
    // Maps of earlier tests may still be on their way out, so the new one is told by not having been there.
    let id = ids()?.into_iter().find(|id| !before.contains(id)).context("the pinned map has no id")?;
    kernel::bpf_open_map(&id)?.done()?;
    kernel::bpf_detach_link(pin)?.refused_with(libc::EINVAL)?;
    file::unlink(pin)?.done()?;
    kernel::bpf_open_pin(pin)?.refused_with(libc::ENOENT)
}
