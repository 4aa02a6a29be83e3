//! Others that read the same dumps: `minidump-stackwalk` for dumps of processes, `ntoseye` for those of Windows' kernel. Installed into the
//! cache at the first run; one that can't be is told as that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::programs::cargo;
use crate::tool;

const STACKWALK: (&str, &str) = ("minidump-stackwalk", "0.27.0");
const NTOSEYE: (&str, &str) = ("ntoseye", "0.52.0");
/// Runs of each file, of which the median counts.
const RUNS: usize = 5;

/// Another tool.
#[derive(Debug, Deserialize, Serialize)]
pub struct Peer {
    /// Its name and version.
    pub name: String,
    /// Why it is not measured.
    pub absent: Option<String>,
}

/// What a tool finds in a file.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Compared {
    pub file: String,
    pub tool: String,
    /// Its class of the fault, with the address that was wanted.
    pub fault: String,
    /// Where the fault was.
    pub place: String,
    /// Its address.
    pub ip: String,
    /// The instruction there.
    pub instruction: String,
    /// Frames of the thread that crashed, and how many of these are guessed from words of the stack alone.
    pub frames: usize,
    pub guessed: usize,
    /// Frames with a function's name.
    pub named: usize,
    /// Modules, and those that were unloaded.
    pub modules: usize,
    pub unloaded: usize,
    /// By what it is counted.
    pub bucket: String,
    /// By the clock, milliseconds; the median.
    pub ms: f64,
}

/// Compares them over our own dumps and public ones.
pub fn compare(product: &Path, own: &Path, corpora: Option<&Path>, cache: &Path) -> Result<(Vec<Peer>, Vec<Compared>)> {
    let folder = cache.join("peers");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let (stackwalk, ntoseye) = (stackwalk(&folder), ntoseye(&folder));
    let peers = [(STACKWALK, &stackwalk), (NTOSEYE, &ntoseye)].map(|((name, version), installed)| Peer {
        name: format!("{name} {version}"),
        absent: installed
            .as_ref()
            .err()
            .map(|error| format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
    });
    let public = corpora.map(|corpora| corpora.join("minidumps/testdata"));
    let symbols = public.as_deref().map(|folder| folder.join("symbols")).filter(|folder| folder.is_dir());
    let mut compared = Vec::new();
    let mut minidumps = vec![own.join("linux.mdmp"), own.join("windows.mdmp")];
    minidumps.extend(
        super::listed(&public.unwrap_or_default())?
            .into_iter()
            .filter(|file| file.extension().is_some_and(|kind| kind == "dmp")),
    );
    for file in &minidumps {
        compared.push(ours(product, file, symbols.as_deref())?);
        if let Ok(stackwalk) = &stackwalk {
            compared.push(by_stackwalk(stackwalk, file, symbols.as_deref())?);
        }
    }
    let real = corpora.map(|corpora| corpora.join("dumps/triage_x64.dmp")).filter(|file| file.is_file());
    for file in real.into_iter().chain([own.join("small.dmp")]) {
        let ours = ours(product, &file, None)?;
        let ip = ours.ip.clone();
        compared.push(ours);
        if let Ok(ntoseye) = &ntoseye {
            compared.push(by_ntoseye(ntoseye, &file, &ip)?);
        }
    }
    Ok((peers.into(), compared))
}

fn stackwalk(folder: &Path) -> Result<PathBuf> {
    let root = folder.join(format!("{}-{}", STACKWALK.0, STACKWALK.1));
    let program = root.join("bin").join(STACKWALK.0);
    if !program.is_file() {
        eprintln!("   installing {} {}", STACKWALK.0, STACKWALK.1);
        let mut cargo = cargo();
        cargo.args([
            "install",
            "--quiet",
            "--locked",
            "--ignore-rust-version",
            STACKWALK.0,
            "--version",
            STACKWALK.1,
            "--root",
        ]);
        tool::output(cargo.arg(&root).arg("--target-dir").arg(folder.join("target")).env_remove("RUSTFLAGS"))?;
        let _ = fs::remove_dir_all(folder.join("target")); // what is left is dead weight
    }
    Ok(program)
}

fn ntoseye(folder: &Path) -> Result<PathBuf> {
    let root = folder.join(format!("{}-{}", NTOSEYE.0, NTOSEYE.1));
    let program = root.join("bin").join(NTOSEYE.0);
    if !program.is_file() {
        eprintln!("   installing {} {}", NTOSEYE.0, NTOSEYE.1);
        tool::output(Command::new("python3").args(["-m", "venv"]).arg(&root))?;
        let wanted = format!("{}=={}", NTOSEYE.0, NTOSEYE.1);
        tool::output(Command::new(root.join("bin/pip")).args(["install", "--quiet", &wanted]))?;
    }
    Ok(program)
}

/// What a run prints, and the median of its times, ms. A tool may end with an error over a damaged file: that is what it finds.
fn run(make: &dyn Fn() -> Command) -> Result<(String, f64)> {
    let (mut times, mut text) = (Vec::new(), String::new());
    for _ in 0..RUNS {
        let mut command = make();
        command.stdin(Stdio::null());
        let begun = Instant::now();
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
    }
    times.sort_by(f64::total_cmp);
    Ok((text, times.get(RUNS / 2).copied().unwrap_or(f64::INFINITY)))
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A text of JSON at a path of it.
fn text(value: &Value, at: &str) -> String {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'v>(value: &'v Value, at: &str) -> &'v [Value] {
    value.pointer(at).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn ours(product: &Path, file: &Path, symbols: Option<&Path>) -> Result<Compared> {
    let (said, ms) = run(&|| {
        let mut command = Command::new(product);
        command.args(["triage", "-o", "json"]);
        if let Some(symbols) = symbols {
            command.arg("--symbols").arg(symbols);
        }
        command.arg(file);
        command
    })?;
    let report: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).unwrap_or_default();
    let frames = list(&report, "/frames");
    let fault = frames.iter().find(|frame| frame.get("is_fault").is_some_and(|is| *is == true)).or(frames.first());
    let place = fault.map(|frame| place(&text(frame, "/module"), &text(frame, "/offset"))).unwrap_or_default();
    let access = match (text(&report, "/access/op"), text(&report, "/access/address")) {
        (op, address) if !address.is_empty() => format!(", {op} of {address}"),
        _ => String::new(),
    };
    let kind = report.get("type").and_then(Value::as_str).map(str::to_owned).unwrap_or_else(|| text(&report, "/error"));
    Ok(Compared {
        file: name(file),
        tool: "watertight".to_owned(),
        fault: format!("{kind}{access}"),
        place,
        ip: fault.map(|frame| text(frame, "/ip")).unwrap_or_default(),
        instruction: text(&report, "/instruction/text").split_whitespace().collect::<Vec<_>>().join(" "),
        frames: frames.len(),
        guessed: frames.iter().filter(|frame| text(frame, "/trust") == "scan").count(),
        named: frames.iter().filter(|frame| frame.get("function").is_some()).count(),
        modules: list(&report, "/modules").len(),
        unloaded: list(&report, "/unloaded").len(),
        bucket: text(&report, "/bucket/id"),
        ms,
    })
}

fn place(module: &str, offset: &str) -> String {
    if module.is_empty() {
        return String::new();
    }
    format!("{}+{offset}", module.rsplit(['/', '\\']).next().unwrap_or_default())
}

fn by_stackwalk(program: &Path, file: &Path, symbols: Option<&Path>) -> Result<Compared> {
    let (said, ms) = run(&|| {
        let mut command = Command::new(program);
        command.args(["--json", "--no-color"]);
        if let Some(symbols) = symbols {
            command.arg("--symbols-path").arg(symbols);
        }
        command.arg(file);
        command
    })?;
    let report: Value = serde_json::from_str(&said).unwrap_or_default();
    if report.is_null() {
        let error = said.lines().next_back().unwrap_or_default().to_owned();
        return Ok(Compared {
            file: name(file),
            tool: STACKWALK.0.to_owned(),
            fault: error,
            ms,
            ..Compared::default()
        });
    }
    let frames = list(&report, "/crashing_thread/frames");
    let at = |frame: &Value| place(&text(frame, "/module"), &text(frame, "/module_offset"));
    Ok(Compared {
        file: name(file),
        tool: STACKWALK.0.to_owned(),
        fault: format!("{}, {}", text(&report, "/crash_info/type"), text(&report, "/crash_info/address")),
        place: frames.first().map(at).unwrap_or_default(),
        instruction: text(&report, "/crash_info/instruction"),
        frames: frames.len(),
        guessed: frames.iter().filter(|frame| text(frame, "/trust") == "scan").count(),
        named: frames.iter().filter(|frame| frame.get("function").is_some_and(|function| !function.is_null())).count(),
        modules: list(&report, "/modules").len(),
        unloaded: list(&report, "/unloaded_modules").len(),
        ms,
        ..Compared::default()
    })
}

/// It looks for symbols at their vendor's: without a network it does not wait for an answer.
fn by_ntoseye(program: &Path, file: &Path, ip: &str) -> Result<Compared> {
    let (said, ms) = run(&|| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--"]).arg(program).arg("--dump").arg(file).arg("--batch");
        command.args(["-c", "!analyze -v", "-c", "lm", "-c", &format!("u {}", ip.trim_start_matches("0x"))]);
        command
    })?;
    let mut found = Compared { file: name(file), tool: NTOSEYE.0.to_owned(), ms, ..Compared::default() };
    let mut section = "";
    let (mut code, mut stop) = (String::new(), String::new());
    for line in said.lines() {
        if line.starts_with(|first: char| first.is_ascii_lowercase()) || line.contains("dmp> ") {
            section = line.split("dmp> ").last().unwrap_or_default().trim();
            continue;
        }
        let words: Vec<&str> = line.trim_start_matches([' ', '├', '└', '│', '─']).split_whitespace().collect();
        match (section, words.as_slice()) {
            (_, ["BUGCHECK", name, ..]) => (*name).clone_into(&mut stop),
            ("exception", ["code", number, ..]) => (*number).clone_into(&mut code),
            (_, ["fault", _, place, ..]) if found.place.is_empty() => (*place).clone_into(&mut found.place),
            ("stack", [number, ..]) if number.parse::<u32>().is_ok() => found.frames += 1,
            ("loaded modules", [_, _, _, "bytes"]) => found.modules += 1,
            ("unloaded modules", [_, ..]) => found.unloaded += 1,
            ("failure signature", ["bucket", bucket, ..]) => (*bucket).clone_into(&mut found.bucket),
            (section, [">", _, _, code @ ..]) if section.starts_with("u ") => {
                let is_byte = |word: &&&str| word.len() == 2 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
                found.instruction = code.iter().skip_while(is_byte).copied().collect::<Vec<_>>().join(" ");
            }
            _ => {}
        }
    }
    found.fault = format!("{stop}, exception {code}");
    if stop.is_empty() {
        found.fault = said.lines().next_back().unwrap_or_default().to_owned();
    }
    Ok(found)
}
