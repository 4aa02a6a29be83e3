//! A test per hook: its event with every field that the hook can give, each with the value that the operation must have. All
//! operations are done in one go; each test asks for the events of its own hook.

mod files;
mod kernel;

use super::Test;
use crate::action::Act;
use crate::product::{by, Events};
use crate::shared;
use anyhow::{bail, ensure, Context, Result};
use serde_json::Value;
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
    "userns_create" "file_open" "file_open_fifo" "file_mknod" "file_mknod_fifo" "file_rename" "file_exchange"
    "file_exchange_back" "file_unlink" "file_rmdir"
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
    /// Several separated by `|` where the kind depends on what the sensor makes of it.
    kind: &'static str,
    source: &'static str,
    outcome: &'static str,
    /// Value by place in the event; null: whatever it is, it must be there.
    fields: Vec<(&'static str, Value)>,
}

/// What was done, and what was said of it.
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
    let of_kinds = expected.kind.split('|').flat_map(|kind| events.of_kind(kind));
    let own = of_kinds.filter(|event| by(event, &expected.act));
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
    let watch = shared::watch()?;
    let mut script = Script::default();
    files::script(&mut script)?;
    kernel::script(&mut script)?;
    Ok(Seen { expected: script.0, events: watch.events()? })
}
