//! What the triage of the re-enacted crash must tell: the facts of the listing that was published of it.

use kdmp_parser::gxa::Gva;
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::virt;
use watertight_triage::report::{Hex, Operation, Trust};
use watertight_triage::Report;

use super::scene::{machine, pieces, sp, ADDRESS, CODE, DRIVER, FAULT, LISTING};
use super::{fact, report_of, writer};

/// What the listing tells, whatever the dump's type.
fn tells_the_facts(report: &Report) {
    let bugcheck = report.bugcheck.as_ref().expect("a stop code");
    assert_eq!((bugcheck.code, bugcheck.name.as_deref()), (Hex(0x50), Some("PAGE_FAULT_IN_NONPAGED_AREA")));
    assert_eq!(bugcheck.parameters, [ADDRESS, 0, FAULT, 2].map(Hex));
    assert_eq!(report.thread.as_deref(), Some("0xffffe402fe868040"));
    assert_eq!(report.process.as_deref(), Some("System"));
    assert_eq!(report.cpu, Some(2));
    for (name, value) in [
        ("MM_INTERNAL_CODE", "2"),
        ("IMAGE_NAME", "csagent.sys"),
        ("FAULTING_MODULE", "fffff80671430000 csagent"),
        ("TRAP_FRAME", "ffff94058305ec20"),
        ("FLAGS", "iopl=0         nv up ei ng nz na po nc"),
    ] {
        assert_eq!(fact(report, name), Some(value), "{name}");
    }
    assert_eq!(report.blamed.as_ref().and_then(|blamed| blamed.module.as_deref()), Some("csagent"));
    let access = report.access.as_ref().expect("an access");
    assert_eq!((access.operation, access.address), (Operation::Read, Hex(ADDRESS)));
    assert_eq!(report.memory.len(), 8);
    assert!(report.memory.iter().all(|line| line.bytes == ["??"; 16].join(" ")));
    let register = |name: &str| report.registers.get(name).map(|register| (register.value.0, register.valid));
    assert_eq!(register("r8"), Some((ADDRESS, true)));
    assert_eq!(register("r11"), Some((0x14, true)));
    assert_eq!(register("rip"), Some((FAULT, true)));
    assert_eq!(register("rbp"), Some((0xffff94058305eeb0, true)));
    assert_eq!(register("r12"), Some((0, false)));
    assert_eq!(register("rdi"), Some((0, false)));
    let instruction = report.instruction.as_ref().expect("an instruction");
    assert_eq!(instruction.bytes, "458b08");
    assert_eq!(instruction.text.as_deref(), Some("mov     r9d,dword ptr [r8]"));
    assert_eq!(instruction.operand.as_deref(), Some("ds:ffff8405`00000074=????????"));
    has_the_code(report);
    has_the_stack(report);
    has_the_modules(report);
    assert_eq!(report.warnings, Vec::<String>::new());
}

fn has_the_code(report: &Report) {
    let lines: Vec<(String, &str)> =
        report.listing.iter().map(|line| (line.place.clone().expect("in csagent"), line.bytes.as_str())).collect();
    let mut expected = Vec::new();
    let mut at = 0xe14d9;
    for code in CODE {
        expected.push((format!("csagent+{at:#x}"), code.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
        at += code.len();
    }
    assert_eq!(lines.len(), 16);
    assert!(
        lines.iter().zip(&expected).all(|(line, expected)| (&line.0, line.1) == (&expected.0, expected.1.as_str())),
        "{lines:?}"
    );
    let texts: Vec<&str> = report.listing.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts[0], "add     al,0D8h");
    assert_eq!(texts[1], "jne     csagent+0xe14e8");
    assert_eq!(texts[4], "movzx   r9d,word ptr [r8]");
    assert_eq!(texts[11], "lea     rcx,[rbp-70h]");
    assert_eq!(texts[13], "call    csagent+0xe4124");
    assert_eq!(report.listing.iter().position(|line| line.is_fault), Some(8));
}

fn has_the_stack(report: &Report) {
    assert_eq!(report.frames.len(), LISTING.len(), "{report}");
    for (frame, (child_sp, return_address, words, site)) in report.frames.iter().zip(LISTING) {
        assert_eq!((frame.sp, frame.ip), (Some(Hex(sp(child_sp))), Some(Hex(site))));
        if frame.n < 17 {
            assert_eq!(frame.return_address, Some(Hex(return_address)));
            assert_eq!(frame.words.iter().map(|word| word.value.0).collect::<Vec<_>>(), words);
        }
        assert_eq!(frame.is_fault, frame.n == 4);
        let trust = if matches!(frame.n, 0 | 4) { Trust::Context } else { Trust::CallVerified };
        assert_eq!(frame.trust, trust, "frame {}", frame.n);
    }
    assert_eq!(report.frames[5].module.as_deref(), Some("csagent"));
    assert_eq!(report.frames[5].offset, Some(Hex(0xb709e)));
    assert_eq!(report.frames[0].module.as_deref(), Some("nt"));
}

fn has_the_modules(report: &Report) {
    let names: Vec<&str> = report.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ["nt", "csagent", "CSFirmwareAnalysis", "cspcm4"]);
    assert_eq!(report.modules[1].path.as_deref(), Some(r"\??\C:\Windows\system32\drivers\CrowdStrike\csagent.sys"));
    let firmware = &report.modules[2];
    assert_eq!((firmware.timestamp, firmware.checksum), (Some(Hex(0x65f888ae)), Some(Hex(0x2020e))));
    assert_eq!((firmware.base, firmware.size), (Some(Hex(0xfffff80658920000)), Some(Hex(0x1c000))));
    let unloaded = &report.unloaded[0];
    assert_eq!(
        (unloaded.name.as_str(), unloaded.base, unloaded.size),
        ("CSBoot.sys", Some(Hex(0xfffff806587d0000)), Some(Hex(0xc000)))
    );
    assert_eq!(report.unloaded.len(), 1);
}

#[test]
fn every_dump_with_pages_of_the_seed_crash_tells_the_facts_of_the_listing() {
    let machine = machine();
    let dumps = [
        ("bitmap", writer::bitmap(&machine, 5)),
        ("live", writer::bitmap(&machine, 6)),
        ("kernel", writer::ranges(&machine, 8)),
        ("kernel and user", writer::ranges(&machine, 9)),
        ("complete", writer::ranges(&machine, 0xa)),
        ("full", writer::full(&machine)),
    ];
    for (name, dump) in dumps {
        println!("{name}");
        let report = report_of(&dump);
        tells_the_facts(&report);
        let access = report.access.as_ref().expect("an access");
        assert_eq!((access.class.as_deref(), access.mapped), (Some("paged pool"), Some(false)));
        let walk: Vec<(&str, u64)> =
            access.walk.iter().map(|level| (level.name.as_str(), level.address.expect("a self-map").0)).collect();
        let expected = [
            ("PXE", 0xffffabd5eaf57840),
            ("PPE", 0xffffabd5eaf080a0),
            ("PDE", 0xffffabd5e1014000),
            ("PTE", 0xffffabc202800000),
        ];
        assert_eq!(walk, expected);
        assert_eq!((access.walk[0].value, access.walk[0].pfn), (Some(Hex(0x0a00000277200863)), Some(Hex(0x277200))));
        assert_eq!(access.walk[0].flags.as_deref(), Some("---DA--KWEV"));
        assert_eq!((access.walk[1].value, access.walk[1].state.as_deref()), (Some(Hex(0)), Some("not valid")));
        assert_eq!((access.walk[2].value, access.walk[3].value), (None, None));
    }
}

#[test]
fn a_small_dump_of_the_seed_crash_tells_the_facts_and_not_what_it_can_not_know() {
    let report = report_of(&writer::small(&machine(), &pieces()));
    println!("{report}");
    tells_the_facts(&report);
    let access = report.access.as_ref().expect("an access");
    assert_eq!((access.mapped, access.walk.len()), (None, 0));
}

#[test]
fn a_line_with_nothing_before_it_is_marked_and_lines_that_agree_are_not() {
    let mut pieces = pieces();
    pieces.retain(|(address, _)| *address != FAULT & !0xfff && !(FAULT - 0x100..FAULT + 0x100).contains(address));
    pieces.push((DRIVER + 0xe14d9, 0x40));
    let report = report_of(&writer::small(&machine(), &pieces));
    let marks: Vec<bool> = report.listing.iter().map(|line| line.ambiguous).collect();
    assert!(marks[0], "{report}");
    assert!(marks[2..].iter().all(|mark| !mark), "{report}");
    assert_eq!(report.listing.len(), 16);
}

#[test]
fn somebody_elses_reader_finds_the_same_memory_in_our_dumps() {
    let machine = machine();
    let dumps = [
        writer::bitmap(&machine, 5),
        writer::ranges(&machine, 8),
        writer::ranges(&machine, 0xa),
        writer::full(&machine),
    ];
    for dump in dumps {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &dump).expect("written");
        let parser = KernelDumpParser::new(file.path()).expect("a dump that others read");
        let mut found: Vec<(u64, String)> =
            parser.kernel_modules().map(|(range, name)| (u64::from(range.start), name.to_owned())).collect();
        found.sort();
        assert!(found.iter().any(|(base, name)| *base == DRIVER && name.ends_with("csagent.sys")), "{found:?}");
        let reader = virt::Reader::new(&parser);
        for (address, page) in &machine.pages {
            let mut theirs = vec![0; 0x1000];
            reader.read_exact(Gva::new(*address), &mut theirs).expect("the same page");
            assert_eq!(theirs, page.to_vec());
        }
    }
}

#[test]
fn a_dump_of_the_same_crash_is_counted_in_the_same_bucket_whatever_its_type() {
    let machine = machine();
    let small = writer::small(&machine, &pieces());
    let dumps = [writer::bitmap(&machine, 5), writer::ranges(&machine, 8), writer::full(&machine), small];
    let buckets = dumps.map(|dump| report_of(&dump).bucket.expect("a bucket"));
    assert!(buckets.iter().all(|bucket| bucket == &buckets[0]), "{buckets:?}");
    assert_eq!(buckets[0].key, "b1 | windows | INVALID-READ | read kernel | csagent | +0xe14ed");
}
