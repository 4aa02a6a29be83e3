//! The pages of `docs/how-to`, run as they stand: every command in its order, and what each part prints beside what the page shows.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_watertight");
const NOBODY: u32 = 65_534;
/// Far longer than any page takes; only one that waits for what never comes is stopped by it.
const PATIENCE: Duration = Duration::from_secs(400);
/// What stands for anything.
const ANYTHING: &str = "...";

/// A page, and parts of its flow that it must not lose.
struct Page {
    name: &'static str,
    text: &'static str,
    shown_min: usize,
    steps: &'static [&'static str],
}

macro_rules! page {
    ($file:literal, $shown_min:literal, $steps:expr) => {
        Page {
            name: concat!("docs/how-to/", $file),
            text: include_str!(concat!("../../docs/how-to/", $file)),
            shown_min: $shown_min,
            steps: &$steps,
        }
    };
}

const RULE: Page = page!(
    "rule.md",
    8,
    [
        "rules check",
        "content explain",
        "content build",
        "content verify",
        "content diff",
        "content replay",
        "content keys new",
        "content sign",
        "content draft release",
        "content publish",
        "content draft plan",
        "content fetch",
        "content install",
        "status",
    ]
);
const CRASH: Page = page!("crash.md", 4, ["triage one.log", "triage -o json", "crash add", "crash list", "crash show"]);
const ENROL: Page = page!("enrol.md", 3, ["server run", "server token", "agent run", "rollout why"]);
const GONE: Page = page!(
    "server-gone.md",
    5,
    ["kill -9 $server", "watertight pause", "watertight resume", "rm -r moved/ca", "server operator"]
);
const ROLLOUT: Page = page!(
    "rollout.md",
    4,
    ["server run", "server token", "agent run", "rollout plan", "rollout start", "rollout status", "rollout why"]
);
const STOP: Page = page!("stop-rollout.md", 3, ["rollout pause", "rollout abort", "rollout status"]);

/// Commands, and what the page says that they print.
#[derive(Debug, Default)]
struct Block {
    line: usize,
    commands: String,
    shown: Option<Vec<String>>,
}

fn blocks(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = None;
    for (number, line) in (1..).zip(page.text.lines()) {
        match (line, inside) {
            ("```sh", None) => {
                inside = Some("sh");
                blocks.push(Block { line: number, ..Block::default() });
            }
            ("```text", None) => {
                inside = Some("text");
                let block = blocks.last_mut().expect("commands before what they print");
                assert!(block.shown.replace(Vec::new()).is_none(), "line {number}: shown twice");
            }
            ("```", Some(_)) => inside = None,
            (line, Some("sh")) => blocks.last_mut().expect("one was begun").commands.extend([line, "\n"]),
            (line, Some(_)) => {
                let block = blocks.last_mut().expect("one was begun");
                block.shown.get_or_insert_default().push(line.to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(inside, None, "the page's last block has no end");
    blocks
}

/// Whether a line is what the page shows, where `...` is anything.
fn is_shown(shown: &str, line: &str) -> bool {
    let mut parts = shown.split(ANYTHING);
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some((_, behind)) = rest.split_once(before) else { return false };
            rest = behind;
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// Whether the lines are those that the page shows; `...` alone is any number of lines.
fn are_shown(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, _) => lines.is_empty(),
        (Some((first, rest)), _) if first == ANYTHING => (0..=lines.len()).any(|skip| are_shown(rest, &lines[skip..])),
        (Some((first, rest)), Some((line, left))) => is_shown(first, line) && are_shown(rest, left),
        (Some(_), None) => false,
    }
}

#[test]
fn every_command_of_the_page_on_rules_runs_in_its_order_and_prints_what_the_page_shows() {
    run_all(&[&RULE], false);
}

#[test]
fn every_command_of_the_page_on_crashes_runs_in_its_order_and_prints_what_the_page_shows() {
    run_all(&[&CRASH], false);
}

#[test]
fn every_command_of_the_pages_on_rollouts_runs_in_its_order_and_prints_what_the_pages_show() {
    run_fleet(&[&ROLLOUT, &STOP]);
}

#[test]
fn every_command_of_the_pages_on_hosts_and_a_server_that_is_gone_runs_in_its_order_and_prints_what_the_pages_show() {
    run_fleet(&[&ENROL, &GONE]);
}

/// Pages with a server and an agent, which watches this machine.
fn run_fleet(pages: &[&Page]) {
    if Path::new(BINARY).with_file_name("watertight-server").exists() {
        run_all(pages, rustix::process::geteuid().is_root());
    } else {
        println!("skipped: no watertight-server beside the command");
    }
}

/// The pages one after the other, each where the one before it ended. A page that watches this machine is run as nobody, so that nothing
/// of it is marked or loaded.
fn run_all(pages: &[&Page], as_nobody: bool) {
    let mut blocks = Vec::new();
    for page in pages {
        let of_page = self::blocks(page);
        assert!(of_page.iter().filter(|block| block.shown.is_some()).count() >= page.shown_min, "{of_page:?}");
        let all: String = of_page.iter().map(|block| block.commands.as_str()).collect();
        let missing: Vec<_> = page.steps.iter().filter(|step| !all.contains(**step)).collect();
        assert!(missing.is_empty(), "the page no longer has {missing:?}");
        blocks.extend(of_page.into_iter().map(|block| (page.name, block)));
    }

    // One shell for all of them, as a person has one; what each block prints goes to a file of its own.
    let folder = tempfile::tempdir().expect("a folder");
    let desk = folder.path().join("desk");
    let programs = folder.path().join("programs");
    fs::create_dir(&desk).expect("a folder");
    fs::create_dir(&programs).expect("a folder");
    for name in ["watertight", "watertight-server"] {
        let built = Path::new(BINARY).with_file_name(name);
        if built.exists() && fs::hard_link(&built, programs.join(name)).is_err() {
            fs::copy(&built, programs.join(name)).expect("a copy");
        }
    }
    let printed = |number: usize| folder.path().join(format!("printed-{number}"));
    let mut script = String::new();
    for (number, (_, block)) in blocks.iter().enumerate() {
        script.push_str(&format!("exec > '{}'\n{}", printed(number).display(), block.commands));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", programs.display());
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/recordings");
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &script]).env("PATH", path).env("RECORDINGS", recordings);
    shell.current_dir(&desk).stdin(Stdio::null()).process_group(0);
    if as_nobody {
        for own in [folder.path(), &desk] {
            std::os::unix::fs::chown(own, Some(NOBODY), Some(NOBODY)).expect("nobody's");
        }
        shell.uid(NOBODY).gid(NOBODY);
    }
    let words = fs::File::create(folder.path().join("words")).expect("a file");
    let mut shell = Group(shell.stderr(words).stdout(Stdio::null()).spawn().expect("every Linux has a shell"));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = shell.0.try_wait().expect("its end") {
            break Some(status);
        }
        if begun.elapsed() > PATIENCE {
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let words = fs::read_to_string(folder.path().join("words")).unwrap_or_default();
    for (number, (name, block)) in blocks.iter().enumerate() {
        let printed = fs::read_to_string(printed(number)).ok();
        let lines: Vec<&str> = printed.as_deref().unwrap_or_default().lines().collect();
        if let (true, Some(shown)) = (printed.is_some(), &block.shown) {
            assert!(are_shown(shown, &lines), "{name}:{}: prints\n{}\n{words}", block.line, lines.join("\n"));
        }
    }
    assert!(status.is_some_and(|status| status.success()), "{status:?}: {words}");
}

/// A shell, and what a page that did not come to its end left running.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::KILL,
        );
        let _ = self.0.wait();
    }
}

#[test]
fn what_differs_from_the_page_is_found() {
    let shown = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    assert!(are_shown(&shown("a ... c\n...\nd"), &["a b c", "x", "y", "d"]));
    assert!(are_shown(&shown("id ..."), &["id 7"]));
    for (page, lines) in
        [("a", vec!["b"]), ("a", vec![]), ("a", vec!["a", "b"]), ("a ... c", vec!["a b d"]), ("...\nd", vec!["x"])]
    {
        assert!(!are_shown(&shown(page), &lines), "{page}: {lines:?}");
    }
}
