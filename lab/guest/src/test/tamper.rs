//! What root does to be rid of the guard, and the guard's own life: survival of every process of ours, generations that are
//! switched, tried, taken back, and the way out.

use super::Test;
use crate::action::{file, kernel, memory, mount};
use crate::guard::{apply, counts, deny_one, folder, loader, program, rule, show, starts, try_apply, LOADER, PINS};
use crate::product::{watertight, PROGRAM};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// This file's tests. The last one leaves the machine without a guard.
pub const TESTS: &[Test] = &[
    Test {
        name: "guard.vital",
        claim: "a policy that would stop the shell, the loader, process 1 or the package manager is refused",
        run: vital,
    },
    Test { name: "guard.survives", claim: "with no process of ours alive a denied exec stays denied", run: survives },
    Test { name: "guard.tamper.pins", claim: "root can't remove or rename the guard's pins", run: pins },
    Test { name: "guard.tamper.mount", claim: "root can't take away, move or cover the guard's mount", run: mounts },
    Test {
        name: "guard.tamper.maps",
        claim: "root gets no writable descriptor of the guard's maps, by pin or by id",
        run: maps,
    },
    Test { name: "guard.tamper.links", claim: "root can't force the guard's programs off their hooks", run: links },
    Test {
        name: "guard.tamper.loader",
        claim: "a copy, a changed, a preloaded or a scripted loader is not the guard's loader",
        run: loaders,
    },
    Test {
        name: "guard.generations",
        claim: "100 generations under exec load give not one wrong verdict",
        run: generations,
    },
    Test { name: "guard.returns", claim: "a policy that nobody confirms is taken back by the kernel", run: returns },
    Test { name: "guard.account", claim: "every verdict is counted: hits = filtered + submitted + lost", run: account },
    Test { name: "guard.unseal", claim: "unseal takes policy and guard away, and leaves nothing", run: unseal },
];

/// Between two pairs of execs, of some 20 ms in emulation: without it they take most of the time from the switches.
const LOAD_PAUSE: Duration = Duration::from_millis(50);

fn vital() -> Result<()> {
    let before = show()?;
    for (target, what) in [
        ("file: /bin/sh", "rescue shell"),
        ("file: /init", "process 1"),
        ("file: /usr/bin/watertight-loader", "loader"),
        ("under: /usr/bin", "loader"),
        ("under: /bin", "rescue shell"),
    ] {
        let output = try_apply(&[rule("bad", "exec", target, "enforce")])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(!output.status.success(), "a rule on {target} was taken");
        ensure!(
            said.contains(what) && said.contains("bad"),
            "{target}: it does not say that it stops the {what}: {said}"
        );
    }
    for place in ["under: /sys/fs/bpf", "under: /run/watertight", "file: /run/watertight/loader.lock", "under: /tmp"] {
        let output = try_apply(&[rule("bad", "[unlink, rename, write]", place, "enforce")])?;
        ensure!(!output.status.success(), "a rule on changes, {place}, was taken");
    }
    let halves = ["0.0.0.0/1", "128.0.0.0/1"]
        .map(|half| rule(&format!("bad-{}", half.len()), "connect", &format!("address: {half}"), "enforce"));
    ensure!(!try_apply(&halves)?.status.success(), "two halves of all addresses were taken");
    ensure!(show()?["generation"] == before["generation"], "a refused policy left something in force");
    Ok(())
}

fn survives() -> Result<()> {
    let denied = deny_one("survives")?;
    for process in ours()? {
        let _ = fs::write("/proc/self/comm", "wt-test");
        let pid = rustix::process::Pid::from_raw(process).context("a pid of 0")?;
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    ensure!(ours()?.is_empty(), "a process of ours is alive");
    for _ in 0..20 {
        ensure!(!starts(&denied)?, "it starts");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Processes whose executable is the product's.
fn ours() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(executable) = fs::read_link(path.join("exe")) else { continue };
        if executable == Path::new(PROGRAM) || executable == Path::new(LOADER) {
            found.extend(path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()));
        }
    }
    Ok(found)
}

fn all_pins(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            pins.extend(all_pins(&path)?);
        }
        pins.push(path);
    }
    Ok(pins)
}

fn pins() -> Result<()> {
    let denied = deny_one("pins")?;
    let pins = all_pins(Path::new(PINS))?;
    ensure!(pins.len() > 25, "only {} pins", pins.len());
    for pin in &pins {
        let pin = pin.to_str().context("a name")?;
        let removed = if Path::new(pin).is_dir() { file::remove_directory(pin)? } else { file::unlink(pin)? };
        removed.refused_with(libc::EPERM).with_context(|| pin.to_owned())?;
    }
    file::rename(PINS, "/sys/fs/bpf/elsewhere")?.refused_with(libc::EPERM)?;
    let shown = folder("pins-shown")?;
    let link = pins.iter().find(|pin| pin.ends_with("guard_open")).context("no link of guard_open")?;
    let through = format!("{shown}/{}", link.strip_prefix(PINS)?.display());
    mount::in_bind(PINS, &shown, &format!("file.unlink {through}"))?.refused_with(libc::EPERM)?;
    ensure!(all_pins(Path::new(PINS))?.len() == pins.len(), "a pin is gone");
    ensure!(!starts(&denied)?, "it starts");
    // Others' pins are their own business.
    kernel::bpf_pin("theirs", "/sys/fs/bpf/theirs")?.done()?;
    file::unlink("/sys/fs/bpf/theirs")?.done().map(drop)
}

fn mounts() -> Result<()> {
    let denied = deny_one("mounts")?;
    let place = folder("mounts-place")?;
    mount::unmount_for_all("/sys/fs/bpf")?.refused_with(libc::EPERM)?;
    mount::unmount_lazily_for_all("/sys/fs/bpf")?.refused_with(libc::EPERM)?;
    mount::unmount_lazily_for_all("/sys")?.refused_with(libc::EPERM).context("with all that is below")?;
    mount::unmount_lazily("/sys")?.done().context("where nobody else sees it")?;
    mount::share_for_all()?.done()?;
    let beside = mount::unmount_lazily_beside("/sys");
    mount::keep_for_all()?.done()?;
    beside?.refused_with(libc::EPERM).context("through a namespace that shares")?;
    mount::move_for_all("/sys/fs/bpf", &place)?.refused_with(libc::EPERM)?;
    mount::mount_for_all("/sys/fs/bpf")?.refused_with(libc::EPERM)?;
    mount::move_mount_for_all("/sys/fs/bpf", &place)?.refused_with(libc::EPERM)?;
    mount::mount_tmpfs(&place)?.done().context("a mount elsewhere")?;
    // Covering a folder above takes nothing away; what is covered must not be taken for nothing.
    mount::mount_for_all("/sys/fs")?.done()?;
    let answers = ["show", "unseal"].map(|word| watertight(&["policy", word]));
    mount::unmount_for_all("/sys/fs")?.done()?;
    for answer in answers {
        let answer = answer?;
        let words = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(!answer.status.success() && words.contains("mounted over"), "covered: {}, {words}", answer.status);
    }
    ensure!(!starts(&denied)?, "it starts");
    ensure!(show()?["state"] == "confirmed", "the loader does not find it any more");
    Ok(())
}

fn maps() -> Result<()> {
    let denied = deny_one("maps")?;
    for pin in all_pins(Path::new(PINS))? {
        let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with("wtg_") {
            let opened = kernel::bpf_open_pin(pin.to_str().context("a name")?)?;
            opened.refused_with(libc::EPERM).with_context(|| name)?;
        }
    }
    let named = kernel::bpf_maps_named("wtg_")?;
    let ids = named.done()?["ids"].as_array().context("ids")?.clone();
    ensure!(ids.len() >= 7, "only {} maps: {ids:?}", ids.len());
    for id in &ids {
        kernel::bpf_open_map(&id.to_string())?.refused_with(libc::EPERM)?;
    }
    kernel::bpf_map("wtg_policy")?.refused_with(libc::EPERM)?;
    kernel::bpf_map("theirs")?.done()?;
    ensure!(!starts(&denied)?, "it starts");
    Ok(())
}

fn links() -> Result<()> {
    let denied = deny_one("links")?;
    let mut tried = 0;
    for pin in all_pins(Path::new(PINS))?.iter().filter(|pin| pin.parent().is_some_and(|at| at.ends_with("links"))) {
        let detached = kernel::bpf_detach_link(pin.to_str().context("a name")?)?;
        ensure!(detached.done().is_err(), "{} was detached", pin.display());
        tried += 1;
    }
    ensure!(tried > 20, "only {tried} links");
    ensure!(!starts(&denied)?, "it starts");
    Ok(())
}

fn loaders() -> Result<()> {
    let denied = deny_one("loaders")?;
    let copy = "/tmp/wt-loader-copy";
    fs::copy(LOADER, copy)?;
    let unseal = |command: &mut Command| -> Result<String> {
        let output = command.args(["guard", "unseal"]).output()?;
        ensure!(!output.status.success(), "{command:?} has unsealed the guard");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let said = unseal(&mut Command::new(copy))?;
    ensure!(said.contains("does not know this process"), "it does not say why: {said}");
    unseal(Command::new("/lib64/ld-linux-x86-64.so.2").arg(LOADER))?;
    unseal(
        Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec -a {LOADER} {copy} \"$@\" || exec {copy} \"$@\""))
            .arg("sh"),
    )?;
    file::write(LOADER)?.refused_with(libc::EPERM)?;
    file::truncate(LOADER, "0")?.refused_with(libc::EPERM)?;
    file::write(PROGRAM)?.refused_with(libc::EPERM)?;
    // A variable for the dynamic linker costs the trust; the loader then starts itself again without it.
    let with_variable = Command::new(LOADER).env("LD_PRELOAD", "/nonexistent.so").args(["guard", "show"]).output()?;
    ensure!(with_variable.status.success(), "{}", String::from_utf8_lossy(&with_variable.stderr));
    memory::trace()?.done().context("tracing others")?;
    ensure!(!starts(&denied)?, "it starts");
    Ok(())
}

fn generations() -> Result<()> {
    let place = folder("generations")?;
    let [denied, free] = ["denied", "free"].map(|name| format!("{place}/{name}"));
    program(&denied)?;
    program(&free)?;
    let policy = |number: u32| {
        let rules = [
            serde_json::json!({ "id": "no-start", "action": "deny", "on": ["exec"], "match": { "file": denied }, "mode": "enforce" }),
            serde_json::json!({ "id": format!("other-{number}"), "action": "deny", "on": ["write"],
                "match": { "file": format!("{place}/other-{number}") }, "mode": "enforce" }),
        ];
        serde_json::json!({ "version": 1, "rules": rules }).to_string()
    };
    apply(&[rule("no-start", "exec", &format!("file: {denied}"), "enforce")])?;
    let first = show()?["generation"].as_u64().context("generation")?;
    let is_over = Arc::new(AtomicBool::new(false));
    let load = {
        let (is_over, denied, free) = (Arc::clone(&is_over), denied.clone(), free.clone());
        thread::spawn(move || -> Result<(u64, u64)> {
            let (mut tried, mut wrong) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                wrong += u64::from(starts(&denied)?) + u64::from(!starts(&free)?);
                tried += 2;
                thread::sleep(LOAD_PAUSE);
            }
            Ok((tried, wrong))
        })
    };
    let switched = (0..100).try_for_each(|number| switch(&policy(number)));
    is_over.store(true, Ordering::Relaxed);
    let (tried, wrong) = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    switched?;
    let last = show()?["generation"].as_u64().context("generation")?;
    ensure!(last == first + 100, "{} generations were switched", last - first);
    ensure!(wrong == 0, "{wrong} wrong verdicts of {tried}");
    ensure!(tried >= 200, "only {tried} execs during the switches");
    Ok(())
}

/// Puts a policy in force and confirms it, by the loader alone.
fn switch(policy: &str) -> Result<()> {
    guard_apply(policy, Duration::from_secs(300))?;
    loader(&["guard", "confirm"]).map(drop)
}

/// Puts a policy on trial, by the loader alone.
fn guard_apply(policy: &str, confirm_within: Duration) -> Result<()> {
    let mut child = Command::new(LOADER)
        .args(["guard", "apply", "--confirm-within", &confirm_within.as_secs().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(policy.as_bytes())?;
    ensure!(child.wait()?.success(), "guard apply failed");
    Ok(())
}

fn returns() -> Result<()> {
    let first = deny_one("returns")?;
    let second = format!("{}/second", folder("returns-second")?);
    program(&second)?;
    // A slow emulation may be past the deadline before it has looked: that proves nothing, and it gets more time.
    let mut is_proved = false;
    for seconds in [5, 20, 80] {
        if returns_after(Duration::from_secs(seconds), &first, &second)? {
            is_proved = true;
            break;
        }
    }
    ensure!(is_proved, "no policy on trial was in force long enough to be looked at");
    let shown = show()?;
    ensure!(shown["state"] == "returned", "{shown}");
    let late = Command::new(LOADER).args(["guard", "confirm"]).output()?;
    ensure!(!late.status.success(), "a policy that was taken back can be confirmed");
    Ok(())
}

/// A policy that denies the second program instead of the first is tried and not confirmed. False if its time was over before
/// it was looked at.
fn returns_after(time: Duration, first: &str, second: &str) -> Result<bool> {
    let rules = [
        serde_json::json!({ "id": "no-second", "action": "deny", "on": ["exec"], "match": { "file": second }, "mode": "enforce" }),
    ];
    let policy = serde_json::json!({ "version": 1, "rules": rules }).to_string();
    let began = Instant::now();
    guard_apply(&policy, time)?;
    let applied = Instant::now();
    let verdicts = (starts(second)?, starts(first)?);
    let is_in_time = began.elapsed() < time;
    ensure!(verdicts == (false, true) || !is_in_time, "the policy on trial is not in force");
    thread::sleep(time.saturating_sub(applied.elapsed()) + Duration::from_millis(200));
    ensure!(starts(second)? && !starts(first)?, "the policy before is not in force again");
    Ok(is_in_time)
}

fn account() -> Result<()> {
    let denied = deny_one("account")?;
    let (before, _) = counts("no-start")?;
    for _ in 0..50 {
        ensure!(!starts(&denied)?, "it starts");
    }
    let (after, _) = counts("no-start")?;
    ensure!(after == before + 50, "50 denials, {} counted", after - before);
    let shown = show()?;
    let hooks = shown["hooks"].as_array().context("hooks")?;
    ensure!(hooks.len() > 3, "only {} hooks ran: {shown}", hooks.len());
    for hook in hooks.iter().filter(|hook| hook["hook"] != "guard_open") {
        ensure!(hook["unaccounted"] == 0, "{hook}");
    }
    Ok(())
}

fn unseal() -> Result<()> {
    let denied = deny_one("unseal")?;
    let output = watertight(&["policy", "unseal"])?;
    ensure!(output.status.success(), "unseal: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(starts(&denied)?, "it still does not start");
    ensure!(!Path::new(PINS).exists(), "the pins are there");
    let named = kernel::bpf_maps_named("wtg_")?;
    ensure!(named.done()?["ids"].as_array().is_some_and(Vec::is_empty), "maps are left: {:?}", named.done()?);
    ensure!(show()?["state"] == "none", "the loader shows one");
    Ok(())
}
