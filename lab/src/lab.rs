//! The two things the lab does: run the guest's tests on each kernel, or run one command in one guest.

use crate::crash;
use crate::image;
use crate::kernel::{Kernel, Series};
use crate::machine::{Machine, Terms};
use crate::programs::{ProductArgs, Programs};
use crate::variant::{self, Variant};
use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;
use watertight_lab_guest::{Job, Line, PARTS};

/// Exit code when the guest ended without saying how its command ended.
const NO_EXIT_CODE: u8 = 255;

/// Built programs and a place to keep kernels and logs.
pub struct Lab {
    programs: Programs,
    cache: PathBuf,
    terms: Terms,
}

/// A guest that only needs to be switched on.
struct Prepared {
    kernel: Kernel,
    initramfs: Vec<u8>,
    terms: Terms,
}

/// What the tests of one or more guests came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    /// Of a guest whose listener panicked: nothing is known but that something failed.
    const BROKEN: Self = Self { passed: 0, failed: 1, skipped: 0 };

    fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed.saturating_add(other.passed),
            failed: self.failed.saturating_add(other.failed),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }
}

impl Lab {
    /// Builds what the guests run.
    pub fn prepare(product: &ProductArgs, terms: Terms) -> Result<Self> {
        let programs = Programs::build(product)?;
        Ok(Self { programs, cache: cache_folder()?, terms })
    }

    /// Runs the tests on each kernel, the guests side by side: those of one kernel keep one processor of this machine busy. A line
    /// is printed whole and begins with its kernel. The last line is always `N passed, N failed`.
    pub fn test(&self, kernels: &[Series], filter: &str) -> Result<ExitCode> {
        let crashes = crash::wanted(kernels, filter);
        // A filter that names crashes alone boots no guest for its other tests.
        let guests = if crash::is_all_of(filter) { &[] } else { kernels };
        // Fetched one after the other: apt lets only one at its lists.
        let prepared: Vec<(Series, Vec<Result<Prepared>>)> = guests
            .iter()
            .flat_map(|series| (0..PARTS).map(|part| (*series, self.prepare_boots(*series, filter, part))))
            .collect();
        let tally = thread::scope(|scope| {
            let picks_up = crash::pstore::is_wanted(kernels, filter);
            let starts_second = crash::kdump::is_wanted(kernels, filter);
            let cores = scope.spawn(move || self.tally_of_crashes(&crashes, starts_second, picks_up));
            let guests: Vec<_> =
                prepared.into_iter().map(|(series, boots)| scope.spawn(move || self.tally_of(series, boots))).collect();
            guests
                .into_iter()
                .map(|guest| guest.join().unwrap_or(Tally::BROKEN))
                .fold(cores.join().unwrap_or(Tally::BROKEN), Tally::and)
        });
        let is_empty = tally.passed == 0 && tally.failed == 0 && tally.skipped == 0;
        let failed = if is_empty {
            println!("FAIL no test's name contains {filter:?}");
            1
        } else {
            tally.failed
        };
        println!("{} passed, {failed} failed", tally.passed);
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What became of the crashes, one after the other beside the guests.
    fn tally_of_crashes(&self, crashes: &[crash::Crash], starts_second: bool, picks_up: bool) -> Tally {
        let mut tally = Tally::default();
        let mut told = |series: Series, name: &str, test: &dyn Fn() -> Result<()>| {
            let since = Instant::now();
            match test() {
                Ok(()) => {
                    println!("{} ok   {name} {:.1} s", series.name(), since.elapsed().as_secs_f32());
                    tally.passed = tally.passed.saturating_add(1);
                }
                Err(error) => {
                    println!("{} FAIL {name}: {error:#}", series.name());
                    tally.failed = tally.failed.saturating_add(1);
                }
            }
        };
        for crash in crashes {
            let test = || crash::test(crash, &self.programs, &self.terms, &self.cache);
            told(crash.series, crash.name, &test);
        }
        if starts_second {
            let test = || crash::kdump::test(&self.programs, &self.terms, &self.cache);
            told(crash::kdump::SERIES, crash::kdump::NAME, &test);
        }
        let (series, name) = (crash::pstore::SERIES, crash::pstore::NAME);
        if picks_up && self.programs.product_file("watertight").is_some() {
            told(series, name, &|| crash::pstore::test(&self.programs, &self.terms, &self.cache));
        } else if picks_up {
            println!("{} skip {name}: the product was left out", series.name());
            tally.skipped = tally.skipped.saturating_add(1);
        }
        tally
    }

    /// Crashes a guest and keeps its cores.
    pub fn keep_core(&self, name: &str, folder: &Path) -> Result<ExitCode> {
        let crashes = crash::wanted(&Series::ALL, name);
        let [crash] = crashes.as_slice() else {
            anyhow::bail!("{name:?} names {} crashes: give null, hung, stack or sysrq", crashes.len());
        };
        crash::keep(crash, &self.programs, &self.terms, &self.cache, folder)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What became of one kernel's tests. A guest that goes away is one more failure, whatever had passed before.
    fn tally_of(&self, series: Series, boots: Vec<Result<Prepared>>) -> Tally {
        let mut tally = Tally::default();
        for boot in boots {
            let ran = boot.and_then(|boot| self.test_kernel(series, &boot, &mut tally));
            if let Err(error) = ran {
                println!("{} FAIL guest: {error:#}", series.name());
                tally.failed = tally.failed.saturating_add(1);
            }
        }
        tally
    }

    /// The boots of a part that a filter asks for: the plain one, and with the first part those with kernel parameters of their own.
    fn prepare_boots(&self, series: Series, filter: &str, part: usize) -> Vec<Result<Prepared>> {
        let prepare = |variant: Option<&Variant>| {
            let job =
                Job::Test { filter: filter.to_owned(), variant: variant.map(|variant| variant.name.to_owned()), part };
            let mut terms = self.terms.clone();
            if let Some(variant) = variant {
                variant.kernel_args.clone_into(&mut terms.kernel_args);
            }
            self.prepare_boot(series, &job, terms)
        };
        variant::wanted(filter).into_iter().filter(|variant| part == 0 || variant.is_none()).map(prepare).collect()
    }

    fn test_kernel(&self, series: Series, boot: &Prepared, tally: &mut Tally) -> Result<()> {
        let mut machine = self.boot(boot)?;
        println!("{} console: {}", series.name(), machine.console_log().display());
        let mut running = String::from("none: the guest is starting");
        let mut since = Instant::now();
        let mut is_done = false;
        while let Some(line) = machine.next_line().with_context(|| format!("test under way: {running}"))? {
            match line {
                Line::Start(name) => (running, since) = (name, Instant::now()),
                Line::Passed(name) => {
                    println!("{} ok   {name} {:.1} s", series.name(), since.elapsed().as_secs_f32());
                    tally.passed = tally.passed.saturating_add(1);
                }
                Line::Failed(name, reason) => {
                    println!("{} FAIL {name}: {reason}", series.name());
                    tally.failed = tally.failed.saturating_add(1);
                }
                Line::Skipped(name, reason) => {
                    println!("{} skip {name}: {reason}", series.name());
                    tally.skipped = tally.skipped.saturating_add(1);
                }
                Line::Done(..) => is_done = true,
                Line::Ready(_) | Line::Output(_) | Line::Exit(_) | Line::Found(_) => {}
            }
        }
        if !is_done {
            anyhow::bail!("the guest went away during test {running}{}", machine.console_tail());
        }
        let seconds = machine.finish()?.as_secs_f32();
        println!("{} guest ran {seconds:.1} s", series.name());
        Ok(())
    }

    /// Runs shell text in a guest; its output is ours, its exit code too.
    pub fn run_command(&self, series: Series, command: &str) -> Result<ExitCode> {
        let mut machine = self.boot(&self.prepare_boot(
            series,
            &Job::Command { command: command.to_owned() },
            self.terms.clone(),
        )?)?;
        let console = machine.console_log();
        let mut code = None;
        while let Some(line) = machine.next_line()? {
            match line {
                Line::Output(text) => println!("{text}"),
                Line::Exit(ended) => code = Some(u8::try_from(ended).unwrap_or(NO_EXIT_CODE)),
                _ => {}
            }
        }
        let Some(code) = code else {
            anyhow::bail!("the guest went away while the command ran{}", machine.console_tail());
        };
        let seconds = machine.finish()?.as_secs_f32();
        eprintln!("exit code {code}, guest ran {seconds:.1} s, console: {}", console.display());
        Ok(ExitCode::from(code))
    }

    fn prepare_boot(&self, series: Series, job: &Job, terms: Terms) -> Result<Prepared> {
        let kernel = Kernel::fetch(series, &self.cache)?;
        eprintln!("{} {} sha256 {}", series.name(), kernel.package, kernel.sha256);
        let mut initramfs = image::base(&kernel, &self.programs)?.to_bytes();
        initramfs.extend(image::job(job)?.to_bytes());
        Ok(Prepared { kernel, initramfs, terms })
    }

    fn boot(&self, prepared: &Prepared) -> Result<Machine> {
        Machine::boot(&prepared.kernel, &prepared.initramfs, &prepared.terms, &self.cache)
    }
}

/// `$WATERTIGHT_LAB_CACHE`, else under the user's cache folder.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("WATERTIGHT_LAB_CACHE") {
        return Ok(folder.into());
    }
    let user_cache = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither WATERTIGHT_LAB_CACHE nor HOME is set")?).join(".cache")
        }
    };
    Ok(user_cache.join("watertight").join("lab"))
}
