//! The one model of a crash, whatever file it came from. `docs/reference/triage.md` describes the JSON form.
//!
//! What is not known is left out: an absent field says "not in this dump", never "zero".

mod hex;
mod modules;
mod parts;
mod redact;
mod text;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use hex::Hex;
pub use parts::{
    Access, Blamed, Bucket, Bugcheck, Exception, Fact, Frame, Instruction, Listed, MemoryLine, Module, Operation,
    Register, Registers, Span, StackWord, Task, Trust, WalkLevel,
};

/// Number of the JSON form. It grows when a field changes its meaning or goes; a new field does not change it.
pub const SCHEMA: u32 = 1;

/// What a crash was found in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Text that a Linux kernel printed.
    LinuxOops,
    /// A core of a Linux kernel.
    LinuxVmcore,
    /// A dump of a Windows kernel.
    WindowsKernel,
    /// A minidump of a process.
    Minidump,
    /// An ELF core of a process.
    ElfCore,
    /// No crash was found.
    #[default]
    None,
}

/// One crash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// `SCHEMA`.
    pub schema: u32,
    /// The file, exactly as it was given, but for bytes that are no UTF-8: each stands as U+FFFD.
    pub file: String,
    /// The file's bytes in hexadecimal, where `file` can't hold all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<String>,
    /// What the crash was found in; `none` without one.
    pub kind: Kind,
    /// Why the file could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The fault in one short line, the same for every crash of the same bug as far as can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Other titles that the same bug may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alt_titles: Vec<String>,
    /// The class of the fault.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Parts of the crash are missing or mixed with others, so that title and frames may be wrong.
    pub corrupted: bool,
    /// A crash that says nothing of its own: a panic that another crash in the file led to, or one that an operator asked for.
    pub suppressed: bool,
    /// What happened, in one plain sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Where in the file the crash lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Windows' stop code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bugcheck: Option<Bugcheck>,
    /// The processor's or the system's exception.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// Name of the process, with its number where that is known: `name (pid)` is never joined here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Number of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Number of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The thread: a kernel address on Windows, a number elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Version and build of the operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_build: Option<String>,
    /// Facts that only some formats have, in the words of their debuggers: `TRAP_FRAME`, `MM_INTERNAL_CODE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Registers at the fault, by lower-case name.
    #[serde(skip_serializing_if = "Registers::is_empty")]
    pub registers: Registers,
    /// The instruction at the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<Instruction>,
    /// Code before and from the fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listing: Vec<Listed>,
    /// The access that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Memory at the address of the access, as far as it is in the dump.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryLine>,
    /// The stack, from the innermost call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Frame>,
    /// Loaded modules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Module>,
    /// Modules that were unloaded before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unloaded: Vec<Module>,
    /// Tasks of the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    /// What taints the kernel, a word each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taint: Vec<String>,
    /// The function or source file that most likely holds the bug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guilty: Option<String>,
    /// By what the crash is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// Whose code it was, and how that was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blamed: Option<Blamed>,
    /// What could not be read or trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Report {
    /// An empty report of a crash of that kind.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { schema: SCHEMA, kind, ..Self::default() }
    }

    /// The report of a file without a crash, or of one that could not be read.
    #[must_use]
    pub fn none(file: String, error: Option<String>) -> Self {
        Self { file, error, ..Self::of(Kind::None) }
    }

    /// Names the file. JSON is UTF-8 and a path any bytes, so one that is no UTF-8 is told twice: readable, and exact.
    pub fn set_file(&mut self, path: &Path) {
        let bytes = path.as_os_str().as_encoded_bytes();
        let is_text = std::str::from_utf8(bytes).is_ok();
        self.file = path.to_string_lossy().into_owned();
        self.file_bytes = (!is_text).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_its_json_form() {
        let mut report = Report::of(Kind::WindowsKernel);
        report.file = "a b.dmp".to_owned();
        report.registers.set("r10", 1, true);
        report.registers.set("r8", u64::MAX, false);
        report.access = Some(Access { operation: Operation::Read, address: Hex(u64::MAX), ..Access::default() });
        report.frames.push(Frame { ip: Some(Hex(16)), trust: Trust::CallVerified, ..Frame::default() });
        let json = serde_json::to_string(&report).expect("a report is JSON");
        assert!(json.contains(r#""registers":{"r10":{"value":"0x1","valid":true},"r8":"#), "{json}");
        assert!(json.contains(r#""access":{"op":"read","address":"0xffffffffffffffff","mapped":null}"#), "{json}");
        assert!(json.contains(r#""trust":"call-verified""#), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("its own form"), report);
    }

    #[test]
    fn names_that_differ_in_a_byte_that_is_no_text_are_told_apart() {
        use std::os::unix::ffi::OsStrExt as _;

        let named = |bytes: &[u8]| {
            let mut report = Report::of(Kind::None);
            report.set_file(Path::new(std::ffi::OsStr::from_bytes(bytes)));
            report
        };
        let (one, other) = (named(b"bad\xff.txt"), named(b"bad\xfe.txt"));
        assert_eq!((one.file.as_str(), one.file_bytes.as_deref()), ("bad\u{fffd}.txt", Some("626164ff2e747874")));
        assert_ne!(one.file_bytes, other.file_bytes);
        assert!(one.to_string().contains("FILE_BYTES:       626164ff2e747874\n"), "{one}");
        assert_eq!(named("b\u{e9}.txt".as_bytes()).file_bytes, None);
    }

    #[test]
    fn a_file_without_a_crash_says_so() {
        let json = serde_json::to_string(&Report::none("x".to_owned(), None)).expect("a report is JSON");
        assert_eq!(json, r#"{"schema":1,"file":"x","kind":"none","corrupted":false,"suppressed":false}"#);
    }
}
