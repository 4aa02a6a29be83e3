//! Sockets, memory, and what changes the kernel: what is done, and what its event must hold.

use super::{at, identity, with, Expected, Script};
use crate::action::{kernel, memory, mount, network, uring};
use anyhow::Result;
use serde_json::{json, Value};

/// Does it all, and notes what must be told of it.
pub fn script(script: &mut Script) -> Result<()> {
    connections(script)?;
    sockets(script)?;
    code(script)?;
    modules(script)?;
    system(script)?;
    mounts(script)
}

fn connections(script: &mut Script) -> Result<()> {
    let accept = network::tcp_accept("127.0.0.1:0")?;
    let (port, peer) = (accept.number("port")?, accept.number("peer_port")?);
    let ends = |local: u64, remote: u64| {
        vec![
            ("/network/family", json!("ipv4")),
            ("/network/protocol", json!("tcp")),
            ("/network/local/address", json!("127.0.0.1")),
            ("/network/local/port", json!(local)),
            ("/network/remote/address", json!("127.0.0.1")),
            ("/network/remote/port", json!(remote)),
        ]
    };
    let accepted = with(ends(port, peer), &[("/network/is_initiated", json!(false))]);
    script.0.insert(
        "sock_accept",
        Expected { act: accept, kind: "network.accept", source: "bpf-lsm", outcome: "done", fields: accepted },
    );
    let connect = network::tcp_accept("127.0.0.1:0")?;
    let (port, peer) = (connect.number("port")?, connect.number("peer_port")?);
    let connected = with(ends(peer, port), &[("/network/is_initiated", json!(true))]);
    script.traced("sock_state", "network.connect|network.established", connect, connected);
    Ok(())
}

fn sockets(script: &mut Script) -> Result<()> {
    let bound = network::tcp_listen("127.0.0.1:0")?;
    let listening = network::tcp_listen("127.0.0.1:0")?;
    let port = listening.number("port")?;
    let here = |port: Value| {
        vec![
            ("/network/family", json!("ipv4")),
            ("/network/protocol", json!("tcp")),
            ("/network/local/address", json!("127.0.0.1")),
            ("/network/local/port", port),
        ]
    };
    script.lsm("sock_bind", "network.bind", bound, here(0.into()));
    script.lsm("sock_listen", "network.listen", listening, here(port.into()));
    let attempt = uring::connect("127.0.0.1:9");
    let refused = attempt?;
    refused.refused_with(libc::ECONNREFUSED)?;
    script.lsm(
        "sock_connect",
        "network.connect",
        refused,
        vec![
            ("/network/family", json!("ipv4")),
            ("/network/protocol", json!("tcp")),
            ("/network/remote/address", json!("127.0.0.1")),
            ("/network/remote/port", json!(9)),
            ("/network/is_initiated", json!(true)),
        ],
    );
    let sent = network::udp_send("127.0.0.1:9")?;
    let port = sent.number("port")?;
    script.lsm(
        "sock_send",
        "network.send",
        sent,
        vec![
            ("/network/family", json!("ipv4")),
            ("/network/protocol", json!("udp")),
            ("/network/local/address", json!("127.0.0.1")),
            ("/network/local/port", json!(port)),
            ("/network/remote/address", json!("127.0.0.1")),
            ("/network/remote/port", json!(9)),
        ],
    );
    let name = at("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&name)?;
    let unix = |name: &str| vec![("/file/path", json!(name)), ("/network/family", json!("unix"))];
    script.lsm("sock_connect_unix", "unix.connect", network::unix_connect(&name)?, unix(&name));
    let own = at("own-socket");
    script.lsm("sock_bind_unix", "unix.bind", network::unix_listen(&own)?, unix(&own));
    Ok(())
}

fn code(script: &mut Script) -> Result<()> {
    let of_true: Vec<_> = with(identity("/bin/true")?, &[("/file/path", "/bin/true".into())]);
    script.lsm(
        "memory_map",
        "memory.map",
        memory::map_file_executable("/bin/true")?,
        with(
            of_true,
            &[("/memory/protection", 5.into()), ("/memory/flags", 2.into()), ("/memory/is_memfd", false.into())],
        ),
    );
    let protected = memory::make_executable()?;
    script.lsm(
        "memory_protect",
        "memory.protect",
        protected,
        vec![("/memory/protection", 5.into()), ("/memory/flags", Value::Null)],
    );
    Ok(())
}

fn modules(script: &mut Script) -> Result<()> {
    let _ = kernel::remove_module("dummy");
    script.lsm(
        "kernel_read_file",
        "module.load",
        kernel::insert_module("dummy")?,
        vec![
            ("/file/path", "/lab/modules/dummy.ko".into()),
            ("/module/name", "dummy.ko".into()),
            ("/operations", json!(["module"])),
        ],
    );
    kernel::remove_module("dummy")?.done()?;
    script.lsm(
        "kernel_load_data",
        "module.load",
        kernel::insert_module_from_memory("dummy")?,
        vec![("/operations", json!(["module"]))],
    );
    kernel::remove_module("dummy")?.done()?;
    Ok(())
}

fn system(script: &mut Script) -> Result<()> {
    script.lsm(
        "bpf_use",
        "bpf.use",
        kernel::bpf_program("wt_prog")?,
        vec![("/bpf/command", 5.into()), ("/bpf/type", 1.into()), ("/operations", json!(["bpf_load"]))],
    );
    script.lsm(
        "bpf_map_use",
        "bpf.use",
        kernel::bpf_map("wt_map")?,
        vec![
            ("/bpf/command", Value::Null),
            ("/bpf/type", 2.into()),
            ("/operations", json!(["bpf_map"])),
            ("/bpf/name", "wt_map".into()),
        ],
    );
    script.lsm(
        "perf_open",
        "perf.open",
        kernel::perf_event()?,
        vec![("/perf/access", "open".into()), ("/operations", json!(["perf_event_open"]))],
    );
    let traced = memory::trace()?;
    let victim = traced.number("victim")?;
    script.lsm(
        "ptrace_access",
        "process.access",
        traced,
        vec![
            ("/access/mode", json!(["attach", "realcreds"])),
            ("/operations", json!(["attach"])),
            ("/target/pid", victim.into()),
            ("/target/id", Value::Null),
            ("/target/executable", "/usr/bin/sleep".into()),
        ],
    );
    script.lsm(
        "uring_sqpoll",
        "io_uring.use",
        kernel::io_uring_sqpoll()?,
        vec![("/operations", json!(["io_uring_sqpoll"]))],
    );
    let as_other = uring::create_as(&at("as-other"))?;
    script.lsm("uring_creds", "io_uring.use", as_other, vec![("/operations", json!(["io_uring_creds"]))]);
    script.lsm(
        "time_set",
        "time.set",
        kernel::set_clock()?,
        vec![("/clock/new_unix_s", Value::Null), ("/operations", json!(["time_set"]))],
    );
    Ok(())
}

fn mounts(script: &mut Script) -> Result<()> {
    let elsewhere = ("/process/mnt_ns", Value::Null); // each of these acts in a namespace of its own
    let (place, moved, pivot) = (at("mount"), at("moved"), at("pivot"));
    script.lsm(
        "mount",
        "mount.change",
        mount::mount_tmpfs(&place)?,
        vec![
            elsewhere.clone(),
            ("/file/path", place.clone().into()),
            ("/mount/source", "tmpfs".into()),
            ("/mount/type", "tmpfs".into()),
            ("/mount/flags", Value::Null),
            ("/operations", json!(["mount"])),
        ],
    );
    script.lsm(
        "umount",
        "mount.change",
        mount::unmount_tmpfs(&place)?,
        vec![
            elsewhere.clone(),
            ("/file/path", place.into()),
            ("/mount/flags", 0.into()),
            ("/operations", json!(["umount"])),
        ],
    );
    script.lsm(
        "move_mount",
        "mount.change",
        mount::attach(&moved)?,
        vec![
            elsewhere.clone(),
            ("/file/path", moved.into()),
            ("/mount/source", Value::Null),
            ("/operations", json!(["move_mount"])),
        ],
    );
    script.lsm(
        "pivot_root",
        "mount.change",
        mount::pivot(&pivot)?,
        vec![
            elsewhere,
            ("/process/cwd", Value::Null),
            ("/file/path", Value::Null),
            ("/mount/source", Value::Null),
            ("/operations", json!(["pivot_root"])),
        ],
    );
    Ok(())
}
