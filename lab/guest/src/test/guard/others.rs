//! What is denied of modules and peers, the way by io_uring, and what is told of all of it.

use super::{denied_and_audited, sha256};
use crate::action::{file, kernel, network, process, uring};
use crate::guard::{apply, counts, folder, program, rule};
use crate::product::{by, Watertight};
use crate::test::Test;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::net::{TcpListener, UdpSocket};

/// This file's tests.
pub const TESTS: &[Test] = &[
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
