//! A core that the kernel wrote of a program that was compiled here, without frame pointers: its code is not in the core, its callers are found
//! by the program's own rules, and its functions have names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use watertight_triage::report::{Operation, Report, Trust};
use watertight_triage::symbols::Folders;
use watertight_triage::{examine, Options};

use super::mutants::Seeded;

const PROGRAM: &str = r"
#include <signal.h>
#include <string.h>
#include <unistd.h>
__attribute__((noinline)) static int frob(int *to, int count)
{
	volatile char room[200];
	memset((void *)room, count, sizeof(room));
	to[4] = count + room[3];
	return count + 1;
}
__attribute__((noinline)) int parse(int *to, int count)
{
	volatile int room[50];
	room[count % 50] = count;
	return frob(to, count + room[0]) * 2 + room[1];
}
static volatile int kept;
static void on_alarm(int signal) { kept = parse((int *)0, signal); }
int main(int count, char **arguments)
{
	if (count > 1) {
		signal(SIGALRM, on_alarm);
		raise(SIGALRM);
	}
	return parse((int *)(long)(count - 1), count) + 3;
}
";

/// Compiles the program to `bin/NAME` below a folder.
fn compile(folder: &Path, flags: &[&str]) -> PathBuf {
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    let (source, program) = (folder.join("frobd.c"), folder.join("bin/frobd"));
    fs::write(&source, PROGRAM).expect("written");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-fomit-frame-pointer", "-Wl,--build-id"]).args(flags).arg("-o").arg(&program).arg(&source);
    assert!(compiler.status().expect("a compiler").success());
    program
}

/// Lets it crash; `None` where this machine writes cores elsewhere.
fn core(folder: &Path, program: &Path, arguments: &str) -> Option<PathBuf> {
    let command = format!("ulimit -c unlimited && exec {} {arguments}", program.display());
    let status = Command::new("sh").args(["-c", &command]).current_dir(folder).status().expect("a shell");
    assert!(!status.success());
    let entries = fs::read_dir(folder).expect("a folder").filter_map(Result::ok).map(|entry| entry.path());
    let core = entries
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
    if core.is_none() {
        eprintln!("skipped: this machine's core_pattern takes cores elsewhere");
    }
    core
}

fn report(core: &Path, folders: &[&Path]) -> Report {
    let mut options = Options::default();
    options.symbols = Arc::new(Folders(folders.iter().map(|folder| folder.to_path_buf()).collect()));
    let mut reports = Vec::new();
    examine(core, &options, &mut |report| reports.push(report));
    println!("{}", reports[0]);
    reports.remove(0)
}

fn functions(report: &Report) -> Vec<&str> {
    let trusted = report.frames.iter().filter(|frame| frame.trust > Trust::CallVerified);
    trusted.filter_map(|frame| frame.function.as_deref()).take_while(|name| *name != "main").collect()
}

#[test]
fn a_core_without_code_is_told_by_the_program_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(folder.path(), &[]);
    let Some(core) = core(folder.path(), &program, "") else { return };
    // Without the program nothing but addresses can be told.
    let bare = report(&core, &[]);
    assert!(bare.instruction.is_none() && functions(&bare).is_empty());

    let told = report(&core, &[&folder.path().join("bin")]);
    assert_eq!(functions(&told), ["frob", "parse"]);
    assert!(told.frames.iter().any(|frame| frame.function.as_deref() == Some("main") && frame.trust == Trust::Unwind));
    let access = told.access.as_ref().expect("an access");
    assert_eq!((access.operation, access.address.0), (Operation::Write, 0x10));
    assert!(told.instruction.expect("from the program").text.expect("x86").starts_with("mov "));
    assert_eq!(told.blamed.expect("a blamed one").function.as_deref(), Some("frob"));
}

#[test]
fn a_call_from_a_signal_handler_leads_on_to_who_was_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(folder.path(), &[]);
    let Some(core) = core(folder.path(), &program, "by-signal") else { return };
    // The root of a file system: the C library's own file has the rules of the handler's return.
    let told = report(&core, &[Path::new("/")]);
    let functions = functions(&told);
    assert_eq!(functions[..3], ["frob", "parse", "on_alarm"], "{functions:?}");
    assert!(told.frames.iter().any(|frame| frame.function.as_deref() == Some("main") && frame.trust == Trust::Unwind));
}

#[test]
fn a_program_of_another_build_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(folder.path(), &[]);
    let Some(core) = core(folder.path(), &program, "") else { return };
    compile(folder.path(), &["-DOTHER", "-O1"]);
    let told = report(&core, &[&folder.path().join("bin")]);
    assert!(functions(&told).is_empty());
    assert!(told.warnings.iter().any(|warning| warning == "frobd: of another build: not used"), "{:?}", told.warnings);
}

#[test]
fn names_come_from_debugging_symbols_beside_a_stripped_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(folder.path(), &[]);
    let Some(core) = core(folder.path(), &program, "") else { return };
    let full = fs::read(&program).expect("the program");
    assert!(Command::new("strip").arg(&program).status().expect("strip").success());
    let bin = folder.path().join("bin");
    assert!(functions(&report(&core, &[&bin])).is_empty());
    let id = build_id(&full);
    let place = bin.join(".build-id").join(&id[..2]);
    fs::create_dir_all(&place).expect("a folder");
    fs::write(place.join(format!("{}.debug", &id[2..])), full).expect("written");
    assert_eq!(functions(&report(&core, &[&bin])), ["frob", "parse"]);
}

/// Mutants of a program.
const MUTANTS: usize = 400;

#[test]
fn a_program_that_was_damaged_costs_its_names_and_not_the_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(folder.path(), &["-Wl,--build-id=none"]);
    let Some(core) = core(folder.path(), &program, "by-signal") else { return };
    let whole = fs::read(&program).expect("the program");
    let mut random = Seeded(0x0b1_4a12);
    let mut options = Options::default();
    options.symbols = Arc::new(Folders(vec![folder.path().join("bin")]));
    for number in 0..MUTANTS {
        let mut mutant = whole.clone();
        for _ in 0..=random.below(8) {
            // Headers, rules and tables of symbols alike; the first letters stay.
            let at = 6 + random.below(mutant.len() - 16);
            let value = [0, 1, u64::MAX, 0x8000_0000, random.next()][random.below(5)];
            random.put(&mut mutant, at, value);
        }
        if number % 10 == 0 {
            mutant.truncate(64 + random.below(whole.len() - 64));
        }
        fs::write(&program, mutant).expect("written");
        let mut reports = Vec::new();
        examine(&core, &options, &mut |report| reports.push(report));
        assert!(reports[0].error.is_none() && !reports[0].frames.is_empty(), "mutant {number}");
    }
}

/// The build id of an ELF file, by its note's head.
fn build_id(file: &[u8]) -> String {
    const HEAD: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = file.windows(HEAD.len()).position(|bytes| bytes == HEAD).expect("a build id") + HEAD.len();
    file[at..at + 20].iter().map(|byte| format!("{byte:02x}")).collect()
}
