//! What each LSM hook reports: one operation after the other in the run that tests share, then every operation's event with its fields.

use super::Test;
use crate::action::{file, kernel, memory, mount, network, process, Act};
use crate::product::{by, Events};
use crate::shared;
use anyhow::{ensure, Context, Result};
use serde_json::Value;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "hooks.file",
        claim: "each file hook reports its operation with path, identity and process",
        run: file_hooks,
    },
    Test {
        name: "hooks.network",
        claim: "each socket hook reports its operation with addresses and process",
        run: network_hooks,
    },
    Test {
        name: "hooks.system",
        claim:
            "each hook on credentials, memory, modules, BPF, tracing, mounts, io_uring and time reports its operation",
        run: system_hooks,
    },
];

/// An operation, the kind of event that it must give, and what must be in the event.
struct Expected {
    act: Act,
    kind: &'static str,
    holds: &'static [(&'static str, &'static str)],
}

fn expected(act: Result<Act>, kind: &'static str, holds: &'static [(&'static str, &'static str)]) -> Result<Expected> {
    let act = act?;
    act.done()?;
    Ok(Expected { act, kind, holds })
}

/// Every operation has an event of its kind by its process with the values at these places.
fn check(events: &Events, operations: &[Expected]) -> Result<()> {
    for Expected { act, kind, holds } in operations {
        let fits = |event: &Value| {
            by(event, act)
                && holds.iter().all(|(place, value)| event.pointer(place).is_some_and(|is| text(is) == *value))
        };
        let event = events.expect(kind, fits).with_context(|| format!("{kind} with {holds:?}"))?;
        for place in ["/process/executable", "/process/id", "/process/uid", "/outcome", "/source", "/sequence"] {
            ensure!(event.pointer(place).is_some(), "{kind} has no {place}: {event}");
        }
        ensure!(event["source"] == "bpf-lsm", "{kind} comes from {}", event["source"]);
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn file_hooks() -> Result<()> {
    let watch = shared::watch()?;
    let operations = [
        expected(file::make_directory("/tmp/wt-d"), "file.mkdir", &[("/file/path", "/tmp/wt-d")])?,
        expected(file::create("/tmp/wt-d/a"), "file.create", &[("/file/path", "/tmp/wt-d/a"), ("/file/type", "file")])?,
        expected(file::write("/tmp/wt-d/a"), "file.open_write", &[("/file/path", "/tmp/wt-d/a")])?,
        expected(
            file::rename("/tmp/wt-d/a", "/tmp/wt-d/b"),
            "file.rename",
            &[("/file/old_path", "/tmp/wt-d/a"), ("/file/path", "/tmp/wt-d/b")],
        )?,
        expected(
            file::link("/tmp/wt-d/b", "/tmp/wt-d/c"),
            "file.link",
            &[("/file/old_path", "/tmp/wt-d/b"), ("/file/path", "/tmp/wt-d/c")],
        )?,
        expected(
            file::symlink("/etc/passwd", "/tmp/wt-d/s"),
            "file.symlink",
            &[("/file/link_target", "/etc/passwd"), ("/file/path", "/tmp/wt-d/s")],
        )?,
        expected(
            file::chmod("/tmp/wt-d/b", "4755"),
            "file.chmod",
            &[("/file/path", "/tmp/wt-d/b"), ("/file/mode_text", "4755")],
        )?,
        expected(file::chown("/tmp/wt-d/b", "1"), "file.chown", &[("/file/path", "/tmp/wt-d/b"), ("/file/uid", "1")])?,
        expected(
            file::set_xattr("/tmp/wt-d/b", "trusted.wt", "x"),
            "file.setxattr",
            &[("/file/attribute", "trusted.wt")],
        )?,
        expected(file::truncate("/tmp/wt-d/b", "1"), "file.truncate", &[("/file/path", "/tmp/wt-d/b")])?,
        expected(
            file::make_fifo("/tmp/wt-d/p"),
            "file.fifo",
            &[("/file/path", "/tmp/wt-d/p"), ("/file/type", "fifo")],
        )?,
        expected(file::open_fifo("/tmp/wt-d/p"), "file.fifo_open", &[("/file/path", "/tmp/wt-d/p")])?,
        expected(file::unlink("/tmp/wt-d/c"), "file.unlink", &[("/file/path", "/tmp/wt-d/c")])?,
    ];
    check(&watch.events()?, &operations)
}

fn network_hooks() -> Result<()> {
    let watch = shared::watch()?;
    let accepted = network::tcp_accept("127.0.0.1:0")?;
    let port = accepted.number("port")?;
    let accepted6 = network::tcp_accept("[::1]:0")?;
    accepted6.done()?;
    let operations = [
        expected(network::unix_listen("/tmp/wt-u"), "unix.bind", &[("/file/path", "/tmp/wt-u")])?,
        expected(
            network::udp_send("127.0.0.1:9"),
            "network.send",
            &[("/network/remote/address", "127.0.0.1"), ("/network/remote/port", "9"), ("/network/protocol", "udp")],
        )?,
        expected(network::udp_send("[::1]:9"), "network.send", &[("/network/remote/address", "::1")])?,
    ];
    let events = watch.events()?;
    check(&events, &operations)?;
    for kind in ["network.bind", "network.listen", "network.accept", "network.connect"] {
        let place = if kind == "network.connect" { "/network/remote/port" } else { "/network/local/port" };
        events.expect(kind, |event| {
            let is_port = event.pointer(place) == Some(&Value::from(port)) || kind == "network.bind";
            by(event, &accepted) && event["source"] == "bpf-lsm" && is_port
        })?;
        events.expect(kind, |event| by(event, &accepted6) && event["network"]["family"] == "ipv6")?;
    }
    Ok(())
}

fn system_hooks() -> Result<()> {
    for place in ["/tmp/wt-m", "/tmp/wt-from", "/tmp/wt-to"] {
        std::fs::create_dir_all(place).context("a place to mount on")?;
    }
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", "/tmp/wt-from", "tmpfs", flags, None::<&std::ffi::CStr>)?;
    let watch = shared::watch()?;
    let operations = [
        expected(process::set_uid("65534"), "process.credentials", &[("/new/uid", "65534")])?,
        expected(
            process::set_gid("65534"),
            "process.credentials",
            &[("/new/gid", "65534"), ("/new/egid", "65534"), ("/operations/0", "setgid")],
        )?,
        expected(
            process::set_groups("4", "20"),
            "process.credentials",
            &[("/new/groups", "[\"4\",\"20\"]"), ("/operations/0", "setgroups")],
        )?,
        expected(process::drop_capabilities(), "process.capset", &[])?,
        expected(process::new_user_namespace(), "process.userns_create", &[])?,
        expected(memory::make_executable(), "memory.protect", &[])?,
        expected(memory::trace(), "process.access", &[])?,
        expected(memory::write_process_vm(), "process.access", &[])?,
        expected(kernel::bpf_map("wt_map"), "bpf.use", &[])?,
        expected(kernel::bpf_program("wt_prog"), "bpf.use", &[("/bpf/command", "5")])?,
        expected(kernel::perf_event(), "perf.open", &[])?,
        expected(kernel::io_uring_sqpoll(), "io_uring.use", &[])?,
        expected(kernel::set_clock(), "time.set", &[])?,
        expected(
            mount::mount_tmpfs("/tmp/wt-m"),
            "mount.change",
            &[("/mount/type", "tmpfs"), ("/file/path", "/tmp/wt-m")],
        )?,
        expected(
            mount::attach("/tmp/wt-m"),
            "mount.change",
            &[
                ("/operations/0", "move_mount"),
                ("/mount/is_detached", "true"),
                ("/mount/type", "tmpfs"),
                ("/mount/source", "none"),
                ("/mount/root", "/"),
                ("/file/path", "/tmp/wt-m"),
            ],
        )?,
        expected(
            mount::move_for_all("/tmp/wt-from", "/tmp/wt-to"),
            "mount.change",
            &[("/mount/source", "/tmp/wt-from"), ("/file/path", "/tmp/wt-to")],
        )?,
    ];
    check(&watch.events()?, &operations)
}
