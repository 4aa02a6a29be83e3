//! The code that a crash text prints: taken apart on x86-64 and arm64, with what its operand's address was.

use watertight_triage::report::Report;

fn report(text: &str) -> Report {
    let mut reports = Vec::new();
    watertight_triage::linux::read(text, &mut |report| reports.push(report));
    reports.remove(0)
}

const X64: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000010
#PF: supervisor write access in kernel mode
Oops: 0002 [#1] PREEMPT SMP
CPU: 0 PID: 86 Comm: sh Not tainted 6.1.0-56-cloud-amd64 #1
RIP: 0010:frob_fill+0x5/0x10 [frob]
Code: cc 48 83 ec 08 48 89 fb e8 3c 5d 0d 00 48 8b 05 10 20 00 00 0f 1f 44 00 00 <c7> 40 10 07 00 00 00 48 8b 0d 01 00 00 00 74 02 c3 cc cc cc cc
RSP: 0018:ffffc90000003d10 EFLAGS: 00000246
RAX: 0000000000000000 RBX: ffff888012345678 RCX: 0000000000000005
Call Trace:
 <TASK>
 frob_write+0x1e/0x40 [frob]
 vfs_write+0x235/0x3e0
";

#[test]
fn code_of_x86_is_listed_around_the_fault() {
    let report = report(X64);
    let instruction = report.instruction.expect("an instruction");
    assert_eq!(instruction.bytes, "c7401007000000");
    assert_eq!(instruction.text.as_deref(), Some("mov     dword ptr [rax+10h],7"));
    assert_eq!(instruction.operand.as_deref(), Some("ds:00000000`00000010=????????"));
    let fault = report.listing.iter().position(|line| line.is_fault).expect("the fault");
    let place = |at: usize| report.listing[at].place.as_deref();
    assert_eq!((place(fault), place(fault + 1)), (Some("frob_fill+0x5"), Some("frob_fill+0xc")));
    assert_eq!(report.listing[fault - 1].place.as_deref(), Some("frob_fill+0x0"));
    // The log tells the place alone: nothing makes up an address, or one relative to it.
    assert!(report.listing.iter().all(|line| line.address.is_none()));
    assert_eq!(report.listing[fault + 1].text, "mov     rcx,qword ptr [frob_fill+0x14]");
    assert_eq!(report.listing[fault + 2].text, "je      frob_fill+0x17");
}

const ARM64: &str = "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000018
Internal error: Oops: 0000000096000044 [#1] SMP
CPU: 1 PID: 77 Comm: frobd Not tainted 6.12.0-frob #1
pc : frob_fill+0x10/0x40 [frob]
lr : frob_read+0x20/0x60 [frob]
sp : ffff800010003d10
x29: ffff800010003d10 x28: 0000000000000000 x27: 0000000000000000
x11: 0000000000000000 x10: 0000000000000000 x9 : 0000000000000000
x8 : 0000000000000000 x7 : 0000000000000001 x6 : 0000000000000002
Call trace:
 frob_fill+0x10/0x40 [frob]
 frob_read+0x20/0x60 [frob]
 vfs_read+0x100/0x300
Code: a9bf7bfd 910003fd f9400021 b4000061 (b9001900)
";

#[test]
fn code_of_arm64_is_listed_up_to_the_fault() {
    let report = report(ARM64);
    assert_eq!(report.registers.get("x8").map(|register| register.value.0), Some(0));
    let instruction = report.instruction.expect("an instruction");
    assert_eq!(instruction.text.as_deref(), Some("str     w0, [x8, #0x18]"));
    assert_eq!(instruction.operand.as_deref(), Some("00000000`00000018=????????"));
    let lines: Vec<(&str, &str)> =
        report.listing.iter().map(|line| (line.place.as_deref().expect("in frob_fill"), line.text.as_str())).collect();
    let expected = [
        ("frob_fill+0x0", "stp     x29, x30, [sp, #-0x10]!"),
        ("frob_fill+0x4", "mov     x29, sp"),
        ("frob_fill+0x8", "ldr     x1, [x1]"),
        ("frob_fill+0xc", "cbz     x1, frob_fill+0x18"),
        ("frob_fill+0x10", "str     w0, [x8, #0x18]"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn registers_and_code_of_the_program_that_called_are_not_those_of_the_fault() {
    let program = "RIP: 0033:0x7f3b4d9f1e97
Code: 5b c3 66 90 f3 0f 1e fa 64 8b 04 25 18 00 00 00 85 c0 75 10 b8 01 00 00 00 0f 05 <48> 3d 00 f0 ff ff 77 51 c3
RSP: 002b:00007ffd3e0b7a38 EFLAGS: 00000246
RAX: ffffffffffffffda RBX: 0000000000000005 RCX: 00007f3b4d9f1e97
";
    let hung = format!(
        "INFO: task frobd:77 blocked for more than 143 seconds.\n      Not tainted 6.1.0 #1\nCall Trace:\n <TASK>\n \
         __schedule+0x351/0xa20\n schedule+0x5d/0xe0\n frob_wait+0x10/0x20 [frob]\n ksys_write+0x6b/0xf0\n{program} </TASK>\n"
    );
    let told = report(&hung);
    assert!(told.registers.is_empty() && told.instruction.is_none() && told.listing.is_empty(), "{told}");
    let told = report(&format!("{X64}{program}"));
    assert_eq!(told.instruction.expect("the kernel's").bytes, "c7401007000000");
    assert_eq!(told.registers.get("rax").map(|register| register.value.0), Some(0));
}

#[test]
fn code_of_another_machine_is_told_as_it_was_printed() {
    let text = X64.replace("RIP: 0010", "EIP").replace("RAX:", "EAX:").replace("RBX:", "EBX:").replace("RSP:", "ESP:");
    let told = report(&text);
    assert!(told.instruction.as_ref().is_some_and(|instruction| instruction.text.is_none()), "{told}");
    assert!(told.listing.is_empty());
    assert!(told.instruction.expect("its bytes").bytes.starts_with("c74010"));
}

#[test]
fn a_line_of_code_without_code_is_none() {
    for code in ["Bad RIP value.", "Unable to access opcode bytes at 0xffffffffffffffd6.", "<c7>", "<", "()", "zz <c7>"]
    {
        let at = X64.find("Code: ").expect("a line") + 6;
        let end = at + X64[at..].find('\n').expect("its end");
        let told = report(&format!("{}{code}{}", &X64[..at], &X64[end..]));
        let bytes = told.instruction.map(|instruction| instruction.bytes).unwrap_or_default();
        assert!(bytes.is_empty() || bytes == "c7", "{code}: {bytes}");
    }
}
