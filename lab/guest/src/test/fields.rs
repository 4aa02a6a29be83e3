//! A test per hook: its event with every field that the hook can give, each with the value that the operation must have. All
//! operations are done in one run; each test asks for the events of its own hook.

use super::Test;
use crate::action::{file, kernel, memory, mount, network, process, uring, Act};
use crate::product::{by, Events, Watertight};
use anyhow::{bail, ensure, Context, Result};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::OnceLock;

macro_rules! hooks {
    ($($hook:literal)*) => {
        /// This file's tests.
        pub const TESTS: &[Test] = &[$(Test {
            name: concat!("fields.", $hook),
            claim: concat!("the event of ", $hook, " has every field that the hook gives, with the operation's values"),
            run: || check($hook),
        }),*];
    };
}

hooks! {
    "task_fork" "task_exec" "task_exec_script" "task_exit" "task_exit_by_signal" "sock_state" "task_fix_setuid" "capset"
    "userns_create" "file_open" "file_open_fifo" "file_mknod" "file_mknod_fifo" "file_rename" "file_unlink" "file_rmdir"
    "file_link" "file_symlink" "file_mkdir" "file_chmod" "file_chown" "file_setxattr" "file_truncate" "file_ftruncate"
    "sock_connect" "sock_connect_unix" "sock_bind" "sock_bind_unix" "sock_listen" "sock_accept" "sock_send" "memory_map"
    "memory_protect" "kernel_read_file" "kernel_load_data" "bpf_use" "bpf_map_use" "perf_open" "ptrace_access" "mount"
    "umount" "move_mount" "pivot_root" "uring_sqpoll" "uring_creds" "time_set"
}

const PLACE: &str = "/tmp/wt-fields";
/// Tried where nobody listens, so that only the attempt can be told.
const REFUSED: &str = "sock_connect";

/// What a hook's event must be.
struct Expected {
    act: Act,
    kind: &'static str,
    source: &'static str,
    outcome: &'static str,
    /// Value by place in the event; null: whatever it is, it must be there.
    fields: Vec<(&'static str, Value)>,
}

/// The one run.
struct Seen {
    expected: BTreeMap<&'static str, Expected>,
    events: Events,
}

fn check(hook: &str) -> Result<()> {
    static SEEN: OnceLock<Result<Seen, String>> = OnceLock::new();
    let seen = match SEEN.get_or_init(|| do_all().map_err(|error| format!("{error:#}"))) {
        Ok(seen) => seen,
        Err(error) => bail!("{error}"),
    };
    let expected = seen.expected.get(hook).with_context(|| format!("nothing is done for {hook}"))?;
    if hook != REFUSED {
        expected.act.done()?;
    }
    let event = best(&seen.events, expected)?;
    let wrong = wrong_fields(event, expected);
    ensure!(wrong.is_empty(), "{}: {event}", wrong.join("; "));
    Ok(())
}

/// Of the act's events of the kind, the one with the fewest wrong fields: an act may cause several.
fn best<'e>(events: &'e Events, expected: &Expected) -> Result<&'e Value> {
    let own = events.of_kind(expected.kind).filter(|event| by(event, &expected.act));
    let best = own.min_by_key(|event| wrong_fields(event, expected).len());
    best.with_context(|| format!("no {} by process {}", expected.kind, expected.act.pid))
}

fn wrong_fields(event: &Value, expected: &Expected) -> Vec<String> {
    let mut all: Vec<(&str, Value)> = vec![("/source", expected.source.into()), ("/outcome", expected.outcome.into())];
    all.extend(every_event(expected));
    all.extend(expected.fields.iter().map(|(place, value)| (*place, value.clone())));
    let is_wrong = |(place, wanted): &(&str, Value)| match event.pointer(place) {
        None => Some(format!("no {place}")),
        Some(is) if wanted.is_null() || is == wanted => None,
        Some(is) => Some(format!("{place} is {is}, not {wanted}")),
    };
    // What the operation says of a place goes before what every event has there.
    let is_overruled = |at: usize, place: &str| all.iter().skip(at + 1).any(|(later, _)| *later == place);
    let kept = all.iter().enumerate().filter(|(at, (place, _))| !is_overruled(*at, place));
    kept.filter_map(|(_, field)| is_wrong(field)).collect()
}

/// What every hook that runs in the acting process tells of it.
fn every_event(expected: &Expected) -> Vec<(&'static str, Value)> {
    let pid = expected.act.pid;
    let namespace =
        |name: &str| fs::metadata(format!("/proc/self/ns/{name}")).map_or(Value::Null, |at| at.ino().into());
    let cgroup = fs::metadata("/sys/fs/cgroup").map_or(Value::Null, |at| at.ino().into());
    vec![
        ("/time", Value::Null),
        ("/boot_ns", Value::Null),
        ("/cpu", Value::Null),
        ("/sequence", Value::Null),
        ("/process/pid", pid.into()),
        ("/process/id", Value::Null),
        ("/process/start_ns", Value::Null),
        ("/process/name", "wt-act".into()),
        ("/process/executable", "/init".into()),
        ("/process/executable_inode", fs::metadata("/init").map_or(Value::Null, |file| file.ino().into())),
        ("/process/command_line", Value::Null),
        ("/process/cwd", "/".into()),
        ("/process/uid", 0.into()),
        ("/process/gid", 0.into()),
        ("/process/euid", 0.into()),
        ("/process/egid", 0.into()),
        ("/process/user", "root".into()),
        ("/process/group", "root".into()),
        ("/process/capabilities", Value::Null),
        ("/process/loginuid", u32::MAX.into()),
        ("/process/pid_ns", namespace("pid")),
        ("/process/mnt_ns", namespace("mnt")),
        ("/process/user_ns", namespace("user")),
        ("/process/cgroup_id", cgroup),
        ("/process/parent/pid", 1.into()),
        ("/process/parent/id", Value::Null),
        ("/process/parent/executable", "/init".into()),
    ]
}

/// Adds operations to the run.
#[derive(Default)]
struct Script(BTreeMap<&'static str, Expected>);

impl Script {
    fn lsm(&mut self, hook: &'static str, kind: &'static str, act: Act, fields: Vec<(&'static str, Value)>) {
        self.0.insert(hook, Expected { act, kind, source: "bpf-lsm", outcome: "attempted", fields });
    }

    fn traced(&mut self, hook: &'static str, kind: &'static str, act: Act, fields: Vec<(&'static str, Value)>) {
        self.0.insert(hook, Expected { act, kind, source: "tp_btf", outcome: "done", fields });
    }
}

fn at(name: &str) -> String {
    format!("{PLACE}/{name}")
}

/// Inode, device as the kernel numbers it, and generation, of a file that is there.
fn identity(path: &str) -> Result<Vec<(&'static str, Value)>> {
    let file = fs::symlink_metadata(path).with_context(|| format!("asking for {path}"))?;
    let dev = (u64::from(libc::major(file.dev())) << 20) | u64::from(libc::minor(file.dev()));
    Ok(vec![("/file/inode", file.ino().into()), ("/file/dev", dev.into()), ("/file/generation", Value::Null)])
}

fn with(mut fields: Vec<(&'static str, Value)>, more: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    fields.extend(more.iter().cloned());
    fields
}

fn do_all() -> Result<Seen> {
    let _ = fs::remove_dir_all(PLACE);
    for folder in ["", "mount", "moved", "pivot"] {
        fs::create_dir_all(at(folder)).context("making folders")?;
    }
    fs::write(at("script"), "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(at("script"), fs::Permissions::from_mode(0o755))?;
    let run = Watertight::start()?;
    let mut script = Script::default();
    processes(&mut script)?;
    names(&mut script)?;
    attributes(&mut script)?;
    sockets(&mut script)?;
    system(&mut script)?;
    mounts(&mut script)?;
    Ok(Seen { expected: script.0, events: run.stop()? })
}

fn processes(script: &mut Script) -> Result<()> {
    let fork = process::fork()?;
    let child = fork.number("child")?;
    script.traced(
        "task_fork",
        "process.fork",
        fork,
        vec![("/child/pid", child.into()), ("/child/tid", child.into()), ("/child/id", Value::Null)],
    );
    let inode = fs::metadata("/bin/true")?.ino();
    script.traced(
        "task_exec",
        "process.exec",
        process::exec_many("wt-fields", "2")?,
        vec![
            ("/process/name", "true".into()),
            ("/process/executable", "/bin/true".into()),
            ("/process/executable_inode", inode.into()),
            ("/process/executable_dev", Value::Null),
            ("/process/executable_generation", Value::Null),
            ("/process/is_memfd", false.into()),
            ("/process/is_deleted", false.into()),
            ("/process/tid", Value::Null),
            ("/process/argv", json!(["/bin/true", "wt-fields-0", "wt-fields-1"])),
            ("/process/argv_bytes", ("/bin/true".len() + 2 * "wt-fields-0".len() + 3).into()),
            ("/process/command_line", "/bin/true wt-fields-0 wt-fields-1".into()),
        ],
    );
    let shell = fs::canonicalize("/bin/sh")?;
    script.traced(
        "task_exec_script",
        "process.exec",
        process::exec(&at("script"), "x")?,
        vec![
            ("/process/name", "script".into()),
            ("/process/executable", shell.to_string_lossy().into()),
            ("/process/interpreter", "/bin/sh".into()),
            ("/process/executable_inode", fs::metadata(&shell)?.ino().into()),
            ("/process/argv", json!(["/bin/sh", at("script"), "x"])),
        ],
    );
    let exit = process::exit_with("41")?;
    script.traced("task_exit", "process.exit", exit, vec![("/exit/code", 41.into()), ("/exit/signal", 0.into())]);
    let killed = process::exit_by_signal("9")?;
    script.traced(
        "task_exit_by_signal",
        "process.exit",
        killed,
        vec![("/exit/code", 0.into()), ("/exit/signal", 9.into())],
    );
    script.lsm(
        "task_fix_setuid",
        "process.credentials",
        process::set_uid("65534")?,
        vec![
            ("/new/uid", 65534.into()),
            ("/new/gid", 0.into()),
            ("/new/euid", 65534.into()),
            ("/new/egid", 0.into()),
            ("/new/capabilities", Value::Null),
            ("/operations", json!(["setuid"])),
        ],
    );
    script.lsm("capset", "process.capset", process::drop_capabilities()?, vec![("/new/capabilities", 0.into())]);
    let unshared = process::new_user_namespace()?;
    script.lsm("userns_create", "process.userns_create", unshared, vec![("/operations", json!(["userns_create"]))]);
    Ok(())
}

fn names(script: &mut Script) -> Result<()> {
    let [folder, first, second, third, symbolic, pipe] = ["d", "d/a", "d/b", "d/c", "d/s", "d/p"].map(at);
    let made = file::make_directory(&folder)?;
    let dev = ("/file/dev", identity(&folder)?.swap_remove(1).1);
    script.lsm(
        "file_mkdir",
        "file.mkdir",
        made,
        vec![
            ("/file/path", folder.clone().into()),
            dev.clone(),
            ("/file/type", "dir".into()),
            ("/file/mode_text", Value::Null),
        ],
    );
    script.lsm(
        "file_mknod",
        "file.create",
        file::create(&first)?,
        vec![
            ("/file/path", first.clone().into()),
            dev.clone(),
            ("/file/type", "file".into()),
            ("/file/mode", Value::Null),
        ],
    );
    let of_file = identity(&first)?;
    let is_file = ("/file/type", json!("file"));
    script.lsm(
        "file_open",
        "file.open_write",
        file::write(&first)?,
        with(
            of_file.clone(),
            &[
                ("/file/path", first.clone().into()),
                is_file.clone(),
                ("/file/open_flags", Value::Null),
                ("/file/mode", Value::Null),
            ],
        ),
    );
    script.lsm(
        "file_rename",
        "file.rename",
        file::rename(&first, &second)?,
        with(
            of_file.clone(),
            &[("/file/old_path", first.into()), ("/file/path", second.clone().into()), is_file.clone()],
        ),
    );
    script.lsm(
        "file_link",
        "file.link",
        file::link(&second, &third)?,
        with(
            of_file.clone(),
            &[("/file/old_path", second.into()), ("/file/path", third.clone().into()), is_file.clone()],
        ),
    );
    script.lsm(
        "file_unlink",
        "file.unlink",
        file::unlink(&third)?,
        with(of_file, &[("/file/path", third.into()), is_file]),
    );
    script.lsm(
        "file_symlink",
        "file.symlink",
        file::symlink("/etc/passwd", &symbolic)?,
        vec![("/file/path", symbolic.into()), ("/file/link_target", "/etc/passwd".into()), dev.clone()],
    );
    script.lsm(
        "file_mknod_fifo",
        "file.fifo",
        file::make_fifo(&pipe)?,
        vec![
            ("/file/path", pipe.clone().into()),
            ("/file/type", "fifo".into()),
            ("/file/mode_text", "0600".into()),
            dev,
        ],
    );
    let of_pipe = identity(&pipe)?;
    script.lsm(
        "file_open_fifo",
        "file.fifo_open",
        file::open_fifo(&pipe)?,
        with(of_pipe, &[("/file/path", pipe.into()), ("/file/type", "fifo".into()), ("/file/open_flags", Value::Null)]),
    );
    let empty = at("empty");
    fs::create_dir(&empty)?;
    let of_empty = identity(&empty)?;
    script.lsm(
        "file_rmdir",
        "file.unlink",
        file::remove_directory(&empty)?,
        with(of_empty, &[("/file/path", empty.into()), ("/file/type", "dir".into())]),
    );
    Ok(())
}

fn attributes(script: &mut Script) -> Result<()> {
    let path = at("attributes");
    fs::write(&path, "1234")?;
    let of_file = with(identity(&path)?, &[("/file/path", path.clone().into()), ("/file/type", "file".into())]);
    let changed = [("/file/mode", json!(0o104_755)), ("/file/mode_text", json!("4755"))];
    script.lsm("file_chmod", "file.chmod", file::chmod(&path, "4755")?, with(of_file.clone(), &changed));
    let owner = [("/file/uid", json!(1)), ("/file/gid", Value::Null)];
    script.lsm("file_chown", "file.chown", file::chown(&path, "1")?, with(of_file.clone(), &owner));
    // This hook knows no mount: the path is that within the file system, which is mounted at /tmp.
    let named = [("/file/attribute", json!("trusted.wt")), ("/file/path", json!(path.trim_start_matches("/tmp")))];
    script.lsm(
        "file_setxattr",
        "file.setxattr",
        file::set_xattr(&path, "trusted.wt", "x")?,
        with(of_file.clone(), &named),
    );
    script.lsm("file_truncate", "file.truncate", file::truncate(&path, "2")?, of_file.clone());
    script.lsm("file_ftruncate", "file.truncate", file::truncate_open(&path, "1")?, of_file);
    Ok(())
}

fn sockets(script: &mut Script) -> Result<()> {
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
    script.traced("sock_state", "network.connect", connect, connected);
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

fn system(script: &mut Script) -> Result<()> {
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
        kernel::insert_module_bytes("dummy")?,
        vec![("/operations", json!(["module"]))],
    );
    kernel::remove_module("dummy")?.done()?;
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
        vec![("/bpf/command", Value::Null), ("/bpf/type", Value::Null)],
    );
    let traced = memory::trace()?;
    let victim = traced.number("victim")?;
    script.lsm(
        "ptrace_access",
        "process.access",
        traced,
        vec![
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
        vec![("/file/size", Value::Null), ("/operations", json!(["time_set"]))],
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
