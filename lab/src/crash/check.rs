//! What triage says of a core, held against what the kernel printed while it died.

use super::makedumpfile::{self, Makedumpfile};
use super::Crash;
use anyhow::{ensure, Context, Result};
use std::collections::HashSet;
use std::path::Path;
use watertight_triage::bucket::{self, steady_name};
use watertight_triage::report::{Kind, Report};
use watertight_triage::source::FileSource;
use watertight_triage::{examine, linux, vmcore, Options};

/// Everything that must hold of a core. Gives what triage says of it.
pub fn check(crash: &Crash, core: &Path, console: &str) -> Result<Report> {
    let report = report_of(core)?;
    ensure!(report.kind == Kind::LinuxVmcore && report.error.is_none(), "no core: {report}");
    ensure!(report.warnings.is_empty(), "warnings: {:?}", report.warnings);
    log(core, console)?;
    same_as_printed(&report, console)?;
    calls(crash, &report)?;
    let levels = if crash.is_wide { "5 levels" } else { "4 levels" };
    ensure!(report.facts.iter().any(|fact| fact.value == levels), "not {levels}: {:?}", report.facts);
    let (pid, name) = (report.pid.context("no process")?, report.process.as_deref().context("no name")?);
    let is_there = report.tasks.iter().any(|task| task.pid == pid && task.name == name);
    ensure!(is_there, "{name} ({pid}) is not among the {} tasks", report.tasks.len());
    let init = report.tasks.iter().find(|task| task.pid == 1).context("no process 1 among the tasks")?;
    ensure!(init.name == "init", "process 1 is {}", init.name);
    let module = report.modules.iter().find(|module| module.name == "wt_crash").context("wt_crash is not listed")?;
    ensure!(module.taint.as_deref() == Some("OE"), "wt_crash is tainted {:?}", module.taint);
    Ok(report)
}

/// makedumpfile finds the same log in a core, and each form that it writes of it tells triage the same; the one that is refused is
/// refused by name.
pub fn against(judge: &Makedumpfile, core: &Path, report: &Report) -> Result<()> {
    let (ours, theirs) = (vmcore::dmesg(&FileSource::open(core)?)?, judge.dmesg(core)?);
    same_lines(&ours, &theirs)?;
    for form in makedumpfile::FORMS {
        let file = judge.written(core, form)?;
        let again = report_of(&file)?;
        same_report(report, &again).with_context(|| format!("as {}", form.suffix))?;
        same_lines(&vmcore::dmesg(&FileSource::open(&file)?)?, &theirs)
            .with_context(|| format!("as {}", form.suffix))?;
        std::fs::remove_file(&file)?;
    }
    let refused = report_of(&judge.written(core, makedumpfile::LZO)?)?;
    let words = refused.error.context("a core that is compressed by LZO was read")?;
    ensure!(words.contains("LZO"), "refused without a name: {words}");
    Ok(())
}

/// What a core says is in its log, its stacks, its tasks and its modules; the form of the file changes nothing of it.
fn same_report(one: &Report, other: &Report) -> Result<()> {
    ensure!(other.error.is_none() && other.warnings.is_empty(), "{:?} {:?}", other.error, other.warnings);
    ensure!(one.bucket == other.bucket, "bucket {:?} and {:?}", one.bucket, other.bucket);
    ensure!(one.title == other.title && one.frames == other.frames, "{:?} and {:?}", one.title, other.title);
    ensure!(one.tasks.len() == other.tasks.len(), "{} and {} tasks", one.tasks.len(), other.tasks.len());
    ensure!(one.modules == other.modules, "{:?} and {:?}", one.modules, other.modules);
    Ok(())
}

/// The same log, line by line. Further lines of one message have the message's time with us, as on the console, and blanks with
/// makedumpfile.
fn same_lines(ours: &str, theirs: &str) -> Result<()> {
    let is_same = |one: &str, other: &str| {
        let message = one.split_once("] ").filter(|_| other.starts_with("    ")).map(|(_, message)| message.trim_end());
        one.trim_end() == other.trim_end() || message == Some(other.trim())
    };
    let other = ours.lines().zip(theirs.lines()).find(|(one, other)| !is_same(one, other));
    ensure!(other.is_none(), "a line of the log is {other:?}");
    let (ours, theirs) = (ours.lines().count(), theirs.lines().count());
    ensure!(ours == theirs, "the log has {ours} lines, by makedumpfile {theirs}");
    ensure!(ours > 200, "only {ours} lines: nothing to compare with");
    Ok(())
}

fn report_of(core: &Path) -> Result<Report> {
    let mut found = None;
    examine(core, &Options::default(), &mut |report| found = Some(report));
    found.context("no report")
}

/// Every line that the kernel printed with a time is in the log that was found in its memory.
fn log(core: &Path, console: &str) -> Result<()> {
    let log = vmcore::dmesg(&FileSource::open(core)?)?;
    let lines: HashSet<&str> = log.lines().map(str::trim_end).collect();
    let printed = console.lines().map(str::trim_end).filter(|line| line.starts_with("[    "));
    let (mut compared, mut missing) = (0_usize, Vec::new());
    for line in printed {
        compared = compared.saturating_add(1);
        if !lines.contains(line) {
            missing.push(line);
        }
    }
    ensure!(compared > 200, "only {compared} lines on the console: nothing to compare with");
    ensure!(
        missing.is_empty(),
        "{} of {compared} printed lines are not in the log: {:?}",
        missing.len(),
        missing.first()
    );
    Ok(())
}

/// The console's text has a report with this title, and it falls into the same bucket, at the same place of the build.
fn same_as_printed(report: &Report, console: &str) -> Result<()> {
    let mut printed = Vec::new();
    linux::read(console, &mut |one| printed.push(one));
    let mut same = printed.iter().find(|one| one.title == report.title).cloned().with_context(|| {
        let titles: Vec<_> = printed.iter().map(|one| one.title.as_deref()).collect();
        format!("the core says {:?}, the console {titles:?}", report.title)
    })?;
    bucket::assign(&mut same);
    let ids = |one: &Report| one.bucket.as_ref().map(|bucket| (bucket.key.clone(), bucket.exact.clone()));
    ensure!(ids(report) == ids(&same), "the core's bucket is {:?}, the console's {:?}", ids(report), ids(&same));
    Ok(())
}

/// The functions are on the stack in this order, whatever lies between.
fn calls(crash: &Crash, report: &Report) -> Result<()> {
    let names: Vec<String> =
        report.frames.iter().filter_map(|frame| frame.function.as_deref()).map(steady_name).collect();
    let mut rest = names.iter();
    for call in crash.calls {
        ensure!(rest.any(|name| name == call), "no {call} where it should be in {names:?}");
    }
    Ok(())
}
