//! Cores of Linux kernels that are written here, byte by byte, and read back: each format, each way to compress, both depths of page
//! tables, cut files, and thousands of mutants. The lab makes cores of real kernels and compares them with what those printed.

mod hostile;
mod kernel;
#[path = "../mutants/mod.rs"]
mod mutants;
mod writer;

use watertight_triage::report::{Kind, Operation, Report, Trust};
use watertight_triage::{examine, vmcore, Examined, Options};
use writer::Compression;

/// The one report of a file with this content.
fn report_of(core: &[u8]) -> Report {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), core).expect("written");
    let mut reports = Vec::new();
    examine(file.path(), &Options::default(), &mut |report| reports.push(report));
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

/// Where the header of a kdump-compressed core says how its pages are compressed, and whether all are there.
const STATUS_AT: usize = 424;

/// `module!function+offset` of each frame.
fn places(report: &Report) -> Vec<String> {
    let place = |frame: &watertight_triage::report::Frame| {
        let module = frame.module.as_ref().map(|module| format!("{module}!")).unwrap_or_default();
        let offset = frame.function_offset.map(|offset| format!("+{offset}")).unwrap_or_default();
        format!("{module}{}{offset}", frame.function.as_deref().unwrap_or("?"))
    };
    report.frames.iter().map(place).collect()
}

fn check(report: &Report, name: &str) {
    assert_eq!(report.kind, Kind::LinuxVmcore, "{name}: {report}");
    assert!(report.warnings.is_empty(), "{name}: {:?}", report.warnings);
    let title = "BUG: unable to handle kernel NULL pointer dereference in frob_write";
    assert_eq!(report.title.as_deref(), Some(title), "{name}");
    let expected = [
        "panic+0x10",
        "asm_exc_frob+0x10",
        "frob!frob_write+0x8",
        "frob!frob_ioctl+0x10",
        "vfs_frob+0x10",
        "vfs_frob+0x38",
    ];
    assert_eq!(places(report), expected, "{name}");
    let fault: Vec<_> = report.frames.iter().filter(|frame| frame.is_fault).collect();
    assert_eq!((fault.len(), fault[0].n, fault[0].trust), (1, 2, Trust::Context), "{name}");
    assert_eq!(report.registers.get("rax").map(|register| register.value.0), Some(0x18), "{name}");
    let instruction = report.instruction.as_ref().expect("an instruction");
    assert_eq!(instruction.bytes, "c70007000000", "{name}");
    assert_eq!(instruction.operand.as_deref(), Some("ds:00000000`00000018=????????"), "{name}");
    assert_eq!(report.access.as_ref().map(|access| access.operation), Some(Operation::Write), "{name}");
    assert_eq!((report.process.as_deref(), report.pid, report.cpu), (Some("frobd"), Some(77), Some(0)), "{name}");
    let tasks: Vec<_> = report.tasks.iter().map(|task| (task.pid, task.name.as_str(), task.state.as_str())).collect();
    assert_eq!(tasks, [(0, "swapper/0", "running"), (77, "frobd", "running"), (78, "frob-wait", "blocked")], "{name}");
    let modules: Vec<_> = report.modules.iter().map(|module| (module.name.as_str(), module.taint.as_deref())).collect();
    assert_eq!(modules, [("frob", Some("OE"))], "{name}");
}

#[test]
fn each_format_and_compression_tells_the_same() {
    let kernel = kernel::kernel(4);
    check(&report_of(&writer::elf(&kernel)), "ELF");
    for compression in [Compression::None, Compression::Zlib, Compression::Snappy, Compression::Zstd] {
        let core = writer::kdump(&kernel, compression);
        check(&report_of(&core), &format!("kdump, {compression:?}"));
        check(&report_of(&writer::flattened(&core)), &format!("flattened, {compression:?}"));
    }
}

#[test]
fn five_levels_of_page_tables_tell_the_same() {
    let kernel = kernel::kernel(5);
    let report = report_of(&writer::elf(&kernel));
    check(&report, "five levels");
    assert!(report.to_string().contains("PAGE_TABLES:      5 levels"), "{report}");
}

#[test]
fn the_log_comes_out_whole_and_in_order() {
    let core = writer::elf(&kernel::kernel(4));
    let log = vmcore::dmesg(&core).expect("a core");
    let expected: Vec<String> = kernel::LOG
        .iter()
        .zip(5_u32..)
        .flat_map(|(message, number)| {
            message.split('\n').map(move |line| format!("[    1.{:03}000] {line}", number % 16))
        })
        .collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_core_and_the_log_of_one_crash_fall_into_one_bucket_and_have_one_exact_id() {
    let core = writer::elf(&kernel::kernel(4));
    let log = vmcore::dmesg(&core).expect("a core");
    let (of_core, of_log) = (report_of(&core), report_of(log.as_bytes()));
    assert_eq!(of_log.kind, Kind::LinuxOops);
    let key = |report: &Report| report.bucket.as_ref().map(|bucket| bucket.key.clone());
    assert_eq!(key(&of_core), key(&of_log));
    assert_eq!(of_core.title, of_log.title);
    let exact = |report: &Report| report.bucket.as_ref().map(|bucket| bucket.exact.clone());
    assert_eq!(exact(&of_core), exact(&of_log), "one place of one build, whichever file tells it");
}

#[test]
fn pages_compressed_with_lzo_are_refused_by_name() {
    let report = report_of(&writer::kdump(&kernel::kernel(4), Compression::Lzo));
    assert_eq!(report.kind, Kind::None);
    assert!(report.error.as_ref().is_some_and(|error| error.contains("LZO")), "{:?}", report.error);
    // Pages that compression would make longer are stored as they are: the first one may be such, and the header tells all the same.
    let mut core = writer::kdump(&kernel::kernel(4), Compression::None);
    core[STATUS_AT] = 2;
    let report = report_of(&core);
    assert!(report.error.as_ref().is_some_and(|error| error.contains("LZO")), "{:?}", report.error);
}

#[test]
fn a_core_that_was_marked_as_incomplete_says_so() {
    let mut core = writer::kdump(&kernel::kernel(4), Compression::Zlib);
    assert_eq!(report_of(&core).warnings, [] as [&str; 0]);
    core[STATUS_AT] = 1 | 8;
    let report = report_of(&core);
    assert!(report.warnings.iter().any(|warning| warning.contains("incomplete")), "{:?}", report.warnings);
    assert_eq!(places(&report).len(), 6, "what is there is read: {report}");
}

#[test]
fn without_a_note_of_vmcoreinfo_the_kernels_own_page_is_found_and_without_both_it_is_said() {
    let mut kernel = kernel::kernel(4);
    let at = kernel.notes.windows(10).position(|name| name == b"VMCOREINFO").expect("the note");
    kernel.notes[at..at + 10].copy_from_slice(b"QEMU\0\0\0\0\0\0");
    let report = report_of(&writer::elf(&kernel));
    assert!(report.warnings.iter().any(|warning| warning.contains("no note has VMCOREINFO")), "{:?}", report.warnings);
    assert_eq!(places(&report).len(), 6, "the kernel's own page of it is found: {report}");
    let at = usize::try_from(kernel::VMCOREINFO_AT).expect("small");
    kernel.image[at] = b'X';
    let report = report_of(&writer::elf(&kernel));
    assert_eq!((report.kind, report.title.as_deref()), (Kind::LinuxVmcore, None));
    assert!(report.warnings.iter().any(|warning| warning.contains("no VMCOREINFO")), "{:?}", report.warnings);
}

#[test]
fn a_core_that_is_cut_gives_what_is_there_and_a_warning() {
    let kernel = kernel::kernel(4);
    let whole = writer::elf(&kernel);
    // The stack and the module lie last.
    let cut = whole.get(..whole.len() - 0x5000).expect("longer");
    let report = report_of(cut);
    assert!(report.title.is_some(), "the log is there: {report}");
    assert!(report.warnings.iter().any(|warning| warning.contains("the file is cut")), "{:?}", report.warnings);
    let kdump = writer::kdump(&kernel, Compression::Zlib);
    for size in [0, 8, 500, 4096, 4200, 8192, kdump.len() / 2, kdump.len() - 1] {
        let cut = kdump.get(..size).expect("longer");
        let report = report_of(cut);
        assert!(size < 8 || report.error.is_some() || !report.warnings.is_empty(), "{size} bytes: {report}");
    }
}

#[test]
fn a_list_of_modules_that_never_ends_is_cut() {
    let mut kernel = kernel::kernel(4);
    // The list's link stands before the module's name.
    let is_name = |at: &usize| kernel.image[*at..].starts_with(b"frob\0");
    let link = (0..kernel.image.len()).step_by(8).find(is_name).expect("the module") - 0x10;
    let to_itself = kernel::BASE + link as u64;
    kernel.image[link..link + 8].copy_from_slice(&to_itself.to_le_bytes());
    let report = report_of(&writer::elf(&kernel));
    assert_eq!(report.modules.len(), 1, "{:?}", report.modules);
    assert!(report.warnings.iter().any(|warning| warning.contains("list of modules")), "{:?}", report.warnings);
}

#[test]
fn an_elf_core_of_a_process_is_not_taken_for_a_kernels() {
    let mut core = writer::elf(&kernel::kernel(4));
    let at = core.windows(10).position(|name| name == b"VMCOREINFO").expect("the note");
    core[at..at + 10].copy_from_slice(b"LINUX\0\0\0\0\0");
    assert!(!vmcore::is_kernel(&core).expect("memory"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &core).expect("written");
    assert_ne!(examine(file.path(), &Options::default(), &mut |_| {}), Examined::Found(0));
}
