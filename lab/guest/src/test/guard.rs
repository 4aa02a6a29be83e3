//! What the policy denies, that its audit twin lets pass and counts, and that no other way leads to the same.

use super::Test;
use crate::action::{file, kernel, memory, mount, network, process, uring, Act};
use crate::guard::{apply, counts, folder, program, rule, starts};
use crate::product::{by, Watertight};
use crate::world;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::net::{TcpListener, UdpSocket};
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
    Test { name: "guard.write", claim: "a denied file is not written, cut or replaced", run: write },
    Test {
        name: "guard.write.under",
        claim: "a denied folder gets no new files, and none is changed",
        run: write_under,
    },
    Test { name: "guard.unlink", claim: "a denied name is not removed, nor replaced by a rename", run: unlink },
    Test { name: "guard.rename", claim: "a denied file is not renamed", run: rename },
    Test { name: "guard.leave", claim: "a file does not leave a denied folder by link or rename", run: leave },
    Test {
        name: "guard.module",
        claim: "a denied module is loaded neither from its file nor from memory",
        run: module,
    },
    Test {
        name: "guard.connect",
        claim: "a denied peer is not reached by connect or datagram, IPv4 and IPv6",
        run: connect,
    },
    Test {
        name: "guard.uring",
        claim: "io_uring is no way around: write, unlink, rename, link, connect",
        run: by_uring,
    },
    Test {
        name: "guard.told",
        claim: "each verdict is an event with the rule, the process and what was asked for; the account balances",
        run: told,
    },
];

/// The act is refused, and its twin on an audited object is done and counted once.
fn denied_and_audited(denied: &Act, audited: &Act, rules: (&str, &str)) -> Result<()> {
    denied.refused_with(libc::EPERM)?;
    audited.done()?;
    let (count, _) = counts(rules.0)?;
    ensure!(count >= 1, "rule {} has counted {count} denials", rules.0);
    let (_, count) = counts(rules.1)?;
    ensure!(count >= 1, "rule {} has counted {count} audits", rules.1);
    Ok(())
}

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

fn module() -> Result<()> {
    let file = "/lab/modules/dummy.ko";
    apply(&[rule("no-module", "module", &format!("file: {file}"), "enforce")])?;
    kernel::insert_module("dummy")?.refused_with(libc::EPERM)?;
    kernel::insert_module_from_memory("dummy")?.refused_with(libc::EPERM)?;
    ensure!(counts("no-module")?.0 >= 1, "the denial is not counted");
    apply(&[rule("no-such-module", "module", &format!("sha256: {}", sha256(file)?), "enforce")])?;
    kernel::insert_module("dummy")?.refused_with(libc::EPERM)?;
    apply(&[rule("watch-module", "module", &format!("file: {file}"), "audit")])?;
    kernel::insert_module("dummy")?.done()?;
    ensure!(counts("watch-module")?.1 == 1, "the audit is not counted");
    kernel::remove_module("dummy")?.done().map(drop)
}

fn connect() -> Result<()> {
    let [denied, watched, free] = ["127.0.0.2:4440", "127.0.0.3:4441", "127.0.0.2:4442"]
        .map(TcpListener::bind)
        .map(|bound| bound.context("bind"));
    let (_denied, _watched, _free) = (denied?, watched?, free?);
    let six = TcpListener::bind("[::1]:4443")?;
    let udp = UdpSocket::bind("127.0.0.4:4444")?;
    apply(&[
        rule("no-port", "connect", "address: 127.0.0.2, port: 4440", "enforce"),
        rule("watch-net", "connect", "address: 127.0.0.3", "audit"),
        rule("no-six", "connect", "address: '::1', port: 4443", "enforce"),
        rule("no-net", "connect", "address: 127.0.0.4/30, port: 4444", "enforce"),
    ])?;
    let pair = (network::tcp_connect("127.0.0.2:4440")?, network::tcp_connect("127.0.0.3:4441")?);
    denied_and_audited(&pair.0, &pair.1, ("no-port", "watch-net"))?;
    network::tcp_connect("127.0.0.2:4442")?.done().context("another port of the same address")?;
    network::tcp_connect("[::ffff:127.0.0.2]:4440")?.refused_with(libc::EPERM)?;
    network::tcp_connect(&six.local_addr()?.to_string())?.refused_with(libc::EPERM)?;
    network::udp_send(&udp.local_addr()?.to_string())?.refused_with(libc::EPERM)?;
    network::udp_send_unspecified("127.0.0.4:4444")?
        .refused_with(libc::EPERM)
        .context("an address without a family")?;
    // No address is this machine's own.
    network::tcp_connect("[::]:4443")?.refused_with(libc::EPERM).context("no address, IPv6")?;
    let _any = TcpListener::bind("127.0.0.1:4446")?;
    apply(&[rule("no-loopback", "connect", "address: 127.0.0.0/8, port: 4446", "enforce")])?;
    network::tcp_connect("0.0.0.0:4446")?.refused_with(libc::EPERM).context("no address, IPv4")?;
    network::tcp_connect("[::ffff:0.0.0.0]:4446")?.refused_with(libc::EPERM).context("no address, IPv4 in IPv6")
}

fn by_uring() -> Result<()> {
    let place = folder("uring")?;
    let denied = format!("{place}/denied");
    fs::write(&denied, "x")?;
    let listener = TcpListener::bind("127.0.0.2:4450")?;
    apply(&[
        rule("no-ops", "[write, unlink, rename]", &format!("file: {denied}"), "enforce"),
        rule("no-peer", "connect", "address: 127.0.0.2, port: 4450", "enforce"),
    ])?;
    uring::create(&format!("{place}/other"))?.done()?;
    uring::open(&denied)?.refused_with(libc::EPERM)?;
    uring::unlink(&denied)?.refused_with(libc::EPERM)?;
    uring::rename(&denied, &format!("{place}/moved"))?.refused_with(libc::EPERM)?;
    uring::rename(&format!("{place}/other"), &denied)?.refused_with(libc::EPERM)?;
    uring::connect(&listener.local_addr()?.to_string())?.refused_with(libc::EPERM)?;
    ensure!(counts("no-ops")?.0 == 4, "denials: {:?}", counts("no-ops")?);
    Ok(())
}

fn sha256(path: &str) -> Result<String> {
    let output = std::process::Command::new("sha256sum").arg(path).output().context("running sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().map(str::to_owned).with_context(|| format!("no digest of {path}"))
}

fn told() -> Result<()> {
    let place = folder("told")?;
    let [denied, watched] = ["denied", "watched"].map(|name| format!("{place}/{name}"));
    program(&denied)?;
    program(&watched)?;
    let listener = TcpListener::bind("127.0.0.2:4460")?;
    apply(&[
        rule("tell-start", "exec", &format!("file: {denied}"), "enforce"),
        rule("tell-watched", "exec", &format!("file: {watched}"), "audit"),
        rule("tell-peer", "connect", "address: 127.0.0.2, port: 4460", "enforce"),
    ])?;
    let run = Watertight::start_guarded()?;
    let start = process::exec(&denied, "x")?;
    start.refused_with(libc::EPERM)?;
    let watched_start = process::exec(&watched, "x")?;
    let peer = network::tcp_connect(&listener.local_addr()?.to_string())?;
    peer.refused_with(libc::EPERM)?;
    let tampering = file::remove_directory("/sys/fs/bpf/watertight-guard")?;
    tampering.refused_with(libc::EPERM)?;
    let events = run.stop()?;
    ensure!(events.matrix()?["level"] == "enforce", "{}", events.matrix()?);
    ensure!(events.matrix()?["policy"].to_string().contains("3 rules"), "{}", events.matrix()?["policy"]);
    let told = events.expect("policy.denied", |event| by(event, &start))?;
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&denied)?);
    ensure!(told["policy"]["rule"] == "tell-start" && told["policy"]["mode"] == "enforce", "{told}");
    ensure!(told["outcome"] == "denied" && told["operations"] == serde_json::json!(["exec"]), "{told}");
    ensure!(told["file"]["path"] == denied.as_str() && told["file"]["inode"] == inode, "{told}");
    ensure!(told["policy"]["matched"] == "file" && told["process"]["parent"]["pid"] == 1, "{told}");
    let told = events.expect("policy.audited", |event| by(event, &watched_start))?;
    ensure!(told["policy"]["rule"] == "tell-watched" && told["outcome"] == "attempted", "{told}");
    let told = events.expect("policy.denied", |event| by(event, &peer))?;
    ensure!(told["network"]["remote"]["address"] == "127.0.0.2", "{told}");
    ensure!(told["network"]["remote"]["port"] == 4460, "{told}");
    let told = events.expect("policy.denied", |event| by(event, &tampering))?;
    ensure!(told["operations"] == serde_json::json!(["tamper"]), "{told}");
    let summary = events.summary()?;
    ensure!(summary["balanced"] == true, "{summary}");
    let rows = summary["guard"].as_array().context("the guard's account")?;
    ensure!(rows.iter().any(|row| row["hook"] == "guard_open" && row["submitted"].as_u64() >= Some(2)), "{summary}");
    Ok(())
}
