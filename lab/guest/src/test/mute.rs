//! What goes without events: our own file and network noise, by what the kernel knows of the process, and what the
//! administrator names. And what must not go without: everything else, whatever it is called.

use super::Test;
use crate::action::{file, network, process, Act, NOBODY};
use crate::product::{by, Events, Watertight, PROGRAM};
use crate::shared;
use crate::story::Story;
use anyhow::{bail, ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

/// The lock that every `watertight run` opens for writing, a refused one too.
const LOCK: &str = "/run/watertight/run.lock";

/// Tests of the shared run: what it leaves out of our own.
pub const OWN: &[Test] = &[
    Test {
        name: "mute.own.trusted_process",
        claim: "another process of ours is muted too, and its exec is shown all the same",
        run: trusted_process_is_muted,
    },
    Test {
        name: "mute.own.preload",
        claim: "our executable with LD_* in its environment is not trusted",
        run: preloaded_is_not_trusted,
    },
    Test {
        name: "mute.own.long_environment",
        claim: "our executable with LD_* behind thousands of other variables is not trusted",
        run: hidden_preload_is_not_trusted,
    },
    Test {
        name: "mute.own.traced",
        claim: "our executable is not trusted when it is traced at its exec",
        run: traced_is_not_trusted,
    },
    Test {
        name: "mute.own.copy",
        claim: "a copy of our executable is not trusted, not even under its name",
        run: copy_is_not_trusted,
    },
];

/// Tests of filters, which want a run of their own.
pub const FILTERS: &[Test] = &[
    Test {
        name: "mute.filter.under",
        claim: "a muted folder mutes what happens in it, and not what leaves it by rename or link",
        run: folder_is_muted,
    },
    Test {
        name: "mute.filter.executable",
        claim: "a muted executable's file events are left out, its exec is shown, and its copy is not muted",
        run: executable_is_muted,
    },
    Test {
        name: "mute.filter.users",
        claim: "a muted range of users mutes its file and network events, or those of one class, and nobody else's",
        run: users_are_muted,
    },
    Test {
        name: "mute.filter.cgroup",
        claim: "a muted cgroup mutes the processes in it and below it, and no others",
        run: cgroup_is_muted,
    },
    Test {
        name: "mute.filter.refused",
        claim: "a filter that names what is not there, or a class that may not be muted, is refused with the mend",
        run: bad_filters_are_refused,
    },
];

/// All file events that fit.
fn file_events<'e>(events: &'e Events, fits: impl Fn(&Value) -> bool + 'e) -> impl Iterator<Item = &'e Value> {
    events.of_kinds("file.").filter(move |event| fits(event))
}

fn expect_no_file_event(events: &Events, fits: impl Fn(&Value) -> bool) -> Result<()> {
    match file_events(events, fits).next() {
        Some(event) => bail!("there should be no such event: {event}"),
        None => Ok(()),
    }
}

fn hook_count(events: &Events, hook: &str, count: &str) -> Result<u64> {
    let hooks = events.summary()?["hooks"].as_array().context("the summary's hooks")?;
    let row = hooks.iter().find(|row| row["hook"] == hook).with_context(|| format!("no row of {hook}"))?;
    row[count].as_u64().with_context(|| format!("{hook} has no {count}: {row}"))
}

/// Runs our executable, which is refused because of the run that is going on, after it has opened the lock for writing.
fn run_refused(command: &mut Command) -> Result<u32> {
    let child = command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = child.id();
    let ended = child.wait_with_output().context("waiting for the second run")?;
    ensure!(ended.status.code() == Some(1), "the second run was not refused: {}", ended.status);
    Ok(pid)
}

fn opened_lock(event: &Value, pid: u64) -> bool {
    event["process"]["pid"] == pid && event["file"]["path"] == LOCK
}

fn trusted_process_is_muted() -> Result<()> {
    let watch = shared::watch()?;
    let pid = u64::from(run_refused(&mut Command::new(PROGRAM))?);
    let events = watch.events()?;
    events.expect("process.exec", |event| event["process"]["pid"] == pid)?;
    expect_no_file_event(&events, |event| event["process"]["pid"] == pid)
}

fn preloaded_is_not_trusted() -> Result<()> {
    let watch = shared::watch()?;
    let pid = u64::from(run_refused(Command::new(PROGRAM).env("LD_WT_NOTHING", "1"))?);
    let events = watch.events()?;
    events.expect("file.open_write", |event| opened_lock(event, pid))?;
    Ok(())
}

fn hidden_preload_is_not_trusted() -> Result<()> {
    let watch = shared::watch()?;
    let many = (0..3_000).map(|number| (format!("A{number}"), "x"));
    // std sorts the variables by name, so these come first.
    let mut command = Command::new(PROGRAM);
    let many_pid = u64::from(run_refused(command.env_clear().envs(many).env("LD_WT_NOTHING", "1"))?);
    let mut command = Command::new(PROGRAM);
    let long = "x".repeat(20_000);
    let long_pid = u64::from(run_refused(command.env_clear().env("A", &long).env("LD_WT_NOTHING", "1"))?);
    let mut command = Command::new(PROGRAM);
    let clean_pid = u64::from(run_refused(command.env_clear().env("A", &long).env("B", "LD_WT_NOTHING=1"))?);
    let events = watch.events()?;
    events.expect("file.open_write", |event| opened_lock(event, many_pid))?;
    events.expect("file.open_write", |event| opened_lock(event, long_pid))?;
    expect_no_file_event(&events, |event| opened_lock(event, clean_pid))
}

fn traced_is_not_trusted() -> Result<()> {
    let watch = shared::watch()?;
    let act = process::exec_traced(PROGRAM, "run")?;
    let pid = act.number("child")?;
    let events = watch.events()?;
    events.expect("file.open_write", |event| opened_lock(event, pid))?;
    Ok(())
}

fn copy_is_not_trusted() -> Result<()> {
    fs::create_dir_all("/tmp/wt-copy/usr/bin").context("a place for the copy")?;
    fs::copy(PROGRAM, "/tmp/wt-copy/usr/bin/watertight").context("copying ourselves")?;
    let loader = "/tmp/wt-copy/usr/bin/watertight-loader";
    fs::copy("/usr/bin/watertight-loader", loader).context("copying the loader")?;
    let watch = shared::watch()?;
    let pid = u64::from(run_refused(&mut Command::new("/tmp/wt-copy/usr/bin/watertight"))?);
    let events = watch.events()?;
    fs::remove_dir_all("/tmp/wt-copy").context("removing the copy")?;
    events.expect("file.open_write", |event| opened_lock(event, pid))?;
    Ok(())
}

/// A program's copy, muted; and one that is not.
const MUTED_PROGRAM: &str = "/tmp/wt-mkdir-muted";
const COPY: &str = "/tmp/wt-mkdir";
const CGROUP: &str = "/sys/fs/cgroup/wt-quiet";

/// What was done in one run with all the filters, each on objects of its own, and what was said of it.
struct Seen {
    events: Events,
    folder: [Act; 5],
    programs: [Act; 2],
    users: [Act; 5],
    /// Processes in the muted group, below it, and outside.
    cgroups: [u64; 3],
}

fn seen() -> Result<&'static Seen> {
    static SEEN: Story<Seen> = Story::new();
    SEEN.told(do_all)
}

fn do_all() -> Result<Seen> {
    let below = format!("{CGROUP}/below");
    fs::create_dir_all("/tmp/wt-quiet/deep/er").context("a folder to mute")?;
    fs::write("/tmp/wt-quiet/old", "").context("a file to take out")?;
    fs::create_dir_all(&below).context("making cgroups")?;
    for copy in [MUTED_PROGRAM, COPY] {
        fs::copy("/bin/mkdir", copy).context("a copy of a program")?;
    }
    let filters = [
        "under=/tmp/wt-quiet".to_owned(),
        format!("exe={MUTED_PROGRAM}"),
        "net:uid=65000-65534".to_owned(),
        "file:uid=1000-1999".to_owned(),
        format!("cgroup={CGROUP}"),
    ];
    let arguments: Vec<&str> = filters.iter().flat_map(|filter| ["--mute", filter]).collect();
    let run = Watertight::start_with(&arguments)?;
    let (folder, programs, users) = (in_folder()?, by_programs()?, by_users()?);
    let cgroups = [
        mkdir_in(CGROUP, "/tmp/wt-cg-1")?,
        mkdir_in(&below, "/tmp/wt-cg-2")?,
        mkdir_in("/sys/fs/cgroup", "/tmp/wt-cg-3")?,
    ];
    let events = run.stop()?;
    for path in ["/tmp/wt-made-quietly", "/tmp/wt-made-loudly", "/tmp/wt-cg-1", "/tmp/wt-cg-2", "/tmp/wt-cg-3"] {
        fs::remove_dir(path).with_context(|| format!("{path} was not made"))?;
    }
    for path in [&below, CGROUP] {
        fs::remove_dir(path).with_context(|| format!("removing {path}"))?;
    }
    for path in [MUTED_PROGRAM, COPY, "/tmp/wt-loud", "/tmp/wt-nobody", "/tmp/wt-user"] {
        fs::remove_file(path).with_context(|| format!("removing {path}"))?;
    }
    fs::remove_dir_all("/tmp/wt-quiet").context("clearing up")?;
    Ok(Seen { events, folder, programs, users, cgroups })
}

fn in_folder() -> Result<[Act; 5]> {
    let acts = [
        file::create("/tmp/wt-quiet/deep/er/new")?,
        file::rename("/tmp/wt-quiet/deep/er/new", "/tmp/wt-quiet/new")?,
        file::rename("/tmp/wt-quiet/old", "/tmp/wt-loud")?,
        file::link("/tmp/wt-quiet/new", "/tmp/wt-loud-link")?,
        file::unlink("/tmp/wt-loud-link")?,
    ];
    all_done(acts)
}

fn by_programs() -> Result<[Act; 2]> {
    Ok([process::exec(MUTED_PROGRAM, "/tmp/wt-made-quietly")?, process::exec(COPY, "/tmp/wt-made-loudly")?])
}

fn by_users() -> Result<[Act; 5]> {
    let acts = [
        Act::perform_as(NOBODY, "file.create", &["/tmp/wt-nobody"])?,
        Act::perform_as(NOBODY, "network.udp_send", &["127.0.0.1:9"])?,
        Act::perform_as(1_500, "file.create", &["/tmp/wt-user"])?,
        Act::perform_as(1_500, "network.udp_send", &["127.0.0.1:9"])?,
        network::udp_send("127.0.0.1:9")?,
    ];
    all_done(acts)
}

fn all_done(acts: [Act; 5]) -> Result<[Act; 5]> {
    acts.iter().try_for_each(|act| act.done().map(drop))?;
    Ok(acts)
}

fn mkdir_in(cgroup: &str, path: &str) -> Result<u64> {
    let script = format!("echo $$ > {cgroup}/cgroup.procs && exec mkdir {path}");
    let child = Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::null()).spawn()?;
    let pid = u64::from(child.id());
    let ended = child.wait_with_output().context("waiting for mkdir")?;
    ensure!(ended.status.success(), "mkdir in {cgroup} ended with {}", ended.status);
    Ok(pid)
}

fn folder_is_muted() -> Result<()> {
    let Seen { events, folder: [inside, renamed, taken_out, linked_out, outside], .. } = seen()?;
    ensure!(events.matrix()?["muted"][0]["in_force"][0] == "file", "the matrix: {}", events.matrix()?["muted"]);
    expect_no_file_event(events, |event| by(event, inside) || by(event, renamed))?;
    events.expect("file.rename", |event| by(event, taken_out))?;
    events.expect("file.link", |event| by(event, linked_out))?;
    events.expect("file.unlink", |event| by(event, outside))?;
    ensure!(hook_count(events, "file_rename", "filtered")? == 1, "one rename was muted");
    Ok(())
}

fn executable_is_muted() -> Result<()> {
    let Seen { events, programs: [muted, copy], .. } = seen()?;
    events.expect("process.exec", |event| by(event, muted) && event["process"]["executable"] == MUTED_PROGRAM)?;
    expect_no_file_event(events, |event| by(event, muted))?;
    events.expect("file.mkdir", |event| by(event, copy))?;
    Ok(())
}

fn users_are_muted() -> Result<()> {
    let Seen { events, users: [nobody_file, nobody_net, user_file, user_net, root_net], .. } = seen()?;
    events.expect("file.create", |event| by(event, nobody_file))?;
    events.expect_none("network.send", |event| by(event, nobody_net))?;
    expect_no_file_event(events, |event| by(event, user_file))?;
    events.expect("network.send", |event| by(event, user_net))?;
    events.expect("network.send", |event| by(event, root_net))?;
    Ok(())
}

fn cgroup_is_muted() -> Result<()> {
    let Seen { events, cgroups: [quiet, deep, loud], .. } = seen()?;
    for pid in [quiet, deep] {
        events.expect("process.exec", |event| event["process"]["pid"] == *pid)?;
        events.expect_none("file.mkdir", |event| event["process"]["pid"] == *pid)?;
    }
    events.expect("file.mkdir", |event| event["process"]["pid"] == *loud)?;
    Ok(())
}

fn bad_filters_are_refused() -> Result<()> {
    for (filter, words) in [
        ("exe=/no/such/program", "/no/such/program"),
        ("process:exe=/bin/sh", "can't be muted"),
        ("under=/bin/sh", "no folder"),
        ("cgroup=/tmp", "no cgroup"),
    ] {
        let output = crate::product::watertight(&["run", "--for", "1s", "-o", "json", "--mute", filter])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(1 | 2)), "--mute {filter} ended with {}: {said}", output.status);
        ensure!(said.contains(words), "--mute {filter} said {said:?}, not {words:?}");
    }
    Ok(())
}
