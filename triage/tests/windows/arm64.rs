//! A dump of an ARM64 machine: its registers, its chain of frame records, addresses that carry a signature in their upper bits.

use watertight_triage::report::{Hex, Operation, Trust};

use super::machine::{Machine, Module};
use super::{report_of, scene, writer};

const NT: u64 = 0xffff_f806_5340_0000;
const DRIVER: u64 = 0xffff_f806_7143_0000;
const STACK: (u64, u64) = (0xffff_9405_8305_9000, 0xffff_9405_8306_0000);
const FAULT: u64 = DRIVER + 0x1040;

fn machine() -> Machine {
    let module = |path, base| Module { path, base, size: 0x5000, timestamp: 0, checksum: 0 };
    let mut machine = Machine {
        is_arm64: true,
        bugcheck: 0xd1,
        parameters: [0x18, 2, 1, FAULT],
        modules: vec![module(r"\SystemRoot\ntoskrnl.exe", NT), module(r"\SystemRoot\driver.sys", DRIVER)],
        stack: STACK,
        self_map: 0x1ed,
        exception: (0x8000_0003, 0),
        ..Machine::default()
    };
    (STACK.0..STACK.1).step_by(0x1000).for_each(|page| machine.fill(page, 0));
    for call in [DRIVER + 0x1100, DRIVER + 0x1204, NT + 0x2004] {
        // bl, forward.
        machine.put(call, &0x9400_0010_u32.to_le_bytes());
    }
    // str w0, [x8, #0x18]
    machine.put(FAULT, &0xb900_1900_u32.to_le_bytes());
    let (inner, outer) = (STACK.1 - 0x80, STACK.1 - 0x40);
    machine.put_u64(inner, outer);
    machine.put_u64(inner + 8, ((DRIVER + 0x1104) & 0xffff_ffff_ffff) | 0x0012_0000_0000_0000);
    machine.put_u64(outer + 8, NT + 0x2008);
    let mut context = vec![0; 0x390];
    let mut put = |at: usize, value: u64| context[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, 0x40_0007);
    put(8, 0x77);
    put(0xf0, inner);
    put(0xf8, DRIVER + 0x1208);
    put(0x100, STACK.1 - 0x100);
    put(0x108, FAULT);
    machine.context = context;
    scene::with_kernel(machine, NT)
}

#[test]
fn an_arm64_dump_tells_the_access_and_follows_the_frame_records() {
    let report = report_of(&writer::bitmap(&machine(), 6));
    println!("{report}");
    let access = report.access.as_ref().expect("an access");
    assert_eq!((access.operation, access.address, access.mapped), (Operation::Write, Hex(0x18), Some(false)));
    assert_eq!(access.class.as_deref(), Some("null page"));
    let frames: Vec<(u64, Trust)> =
        report.frames.iter().map(|frame| (frame.ip.expect("known").0, frame.trust)).collect();
    let expected = [
        (FAULT, Trust::Context),
        (DRIVER + 0x1208, Trust::CallVerified),
        (DRIVER + 0x1104, Trust::CallVerified),
        (NT + 0x2008, Trust::CallVerified),
    ];
    assert_eq!(frames, expected);
    assert!(report.frames[0].is_fault);
    assert_eq!(report.registers.get("x0").map(|register| register.value), Some(Hex(0x77)));
    let instruction = report.instruction.expect("an instruction");
    assert_eq!(instruction.bytes, "001900b9");
    assert_eq!(instruction.text.as_deref(), Some("str     w0, [x8, #0x18]"));
    assert_eq!(instruction.operand.as_deref(), Some("00000000`00000018=????????"));
    // Eight before the fault and eight from it on, none of them doubtful.
    assert_eq!(report.listing.len(), 16);
    assert_eq!(report.listing.iter().position(|line| line.is_fault), Some(8));
    assert!(report.listing.iter().all(|line| !line.ambiguous));
    assert_eq!((report.process.as_deref(), report.cpu), (Some("System"), Some(2)));
}
