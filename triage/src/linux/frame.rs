//! One line of a stack: what each architecture prints for a call.

use crate::report::{Frame, Hex, Trust};

use super::words::Words;

/// A call as it was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    /// The function, without what a compiler put behind its name.
    pub(super) name: &'a str,
    pub(super) offset: u64,
    pub(super) address: Option<u64>,
    /// The module, where it is not the kernel itself.
    pub(super) module: Option<&'a str>,
    /// Source file and line, in logs that were symbolized.
    pub(super) source: Option<(&'a str, u32)>,
    /// The kernel marks it as a leftover on the stack: `? name`, `(unreliable)`.
    pub(super) is_leftover: bool,
}

impl Call<'_> {
    /// As a frame of a report.
    pub(super) fn frame(&self, n: usize, trust: Trust) -> Frame {
        Frame {
            n: u32::try_from(n).unwrap_or(u32::MAX),
            ip: self.address.map(Hex),
            module: self.module.map(str::to_owned),
            function: Some(demangled(self.name)),
            function_offset: Some(Hex(self.offset)),
            file: self.source.map(|(file, _)| file.to_owned()),
            line: self.source.map(|(_, line)| line),
            trust: if self.is_leftover { Trust::Scan } else { trust },
            ..Frame::default()
        }
    }
}

/// A function's name as it was written: Rust's names carry their path and a digest.
pub(super) fn demangled(name: &str) -> String {
    if let Some(plain) = name.strip_prefix("_Z").and_then(cpp_plain) {
        return plain.to_owned();
    }
    let is_rust = name.starts_with("_R") || name.starts_with("_ZN");
    match rustc_demangle::try_demangle(name) {
        Ok(rust) if is_rust => format!("{rust:#}"),
        _ => name.to_owned(),
    }
}

/// The name of a plain C++ function: `4frobi` is `frob` with an argument.
fn cpp_plain(mangled: &str) -> Option<&str> {
    let digits = mangled.bytes().take_while(u8::is_ascii_digit).count();
    let length: usize = mangled.get(..digits)?.parse().ok()?;
    mangled.get(digits..digits.checked_add(length)?)
}

/// The calls of a line of a stack. ARM prints two a line, the function and the one that called it; all others one.
pub(super) fn calls(text: &str) -> impl Iterator<Item = Call<'_>> {
    let (first, second) = match arm(text) {
        Some((first, second)) => (Some(first), second),
        None => (call_at_start(text), None),
    };
    first.into_iter().chain(second)
}

/// `[<c010f000>] (name) from [<c0110000>] (other+0x10/0x20)`, and of later kernels ` name from other+0x10/0x20`.
fn arm(text: &str) -> Option<(Call<'_>, Option<Call<'_>>)> {
    let (callee, caller) = text.split_once(" from ")?;
    let first = |name| Call { name, offset: 0, address: None, module: None, source: None, is_leftover: false };
    let plain = |name: &'_ str| -> usize { name.find(['+', '.', ' ']).unwrap_or(name.len()) };
    let Some((address, rest)) = bracketed(callee.trim_start()) else {
        let callee = callee.strip_prefix(' ')?;
        let (name, rest) = callee.split_at(plain(callee));
        // Only the name's module may stand between.
        let is_call = is_name(name) && (rest.is_empty() || rest.starts_with(" ["));
        return symbol(caller).filter(|_| is_call).map(|caller| (first(name), Some(caller)));
    };
    let name = rest.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let name = name.get(..plain(name)).filter(|name| is_name(name))?;
    let callee = Call { address: Some(address), ..first(name) };
    let (address, rest) = bracketed(caller.trim_start())?;
    let caller = symbol(rest.trim_start().strip_prefix('(')?).map(|call| Call { address: Some(address), ..call });
    Some((callee, caller))
}

/// Marks of special stacks. Kernels up to 4.8 print them in front of a frame: ` <IRQ>  [<ffffffff81000000>] name+0x10/0x20`.
const MARKS: [&str; 6] = ["<IRQ>", "<EOI>", "<NMI>", "<<EOE>>", "<#DF>", "<TASK>"];

/// The text behind blanks and such marks.
fn after_marks(text: &str) -> &str {
    let mut rest = text.trim_start_matches([' ', '\t']);
    while let Some(after) = MARKS.iter().find_map(|mark| rest.strip_prefix(mark)) {
        rest = after.trim_start_matches(' ');
    }
    rest
}

/// A frame of which the kernel knows no function: ` 0xffffffffc0123456`, ` ? 0xffffffffc0123456`, `([<00000000027f8000>] 0x27f8000)`. The address,
/// and whether it is a leftover.
pub(super) fn without_name(text: &str) -> Option<(u64, bool)> {
    let rest = after_marks(text);
    let rest = rest.strip_prefix('(').unwrap_or(rest);
    let rest = bracketed(rest).map_or(rest, |(_, after)| after.trim_start_matches(' '));
    let (rest, is_leftover) = rest.strip_prefix("? ").map_or((rest, false), |after| (after, true));
    let digits = rest.trim_end_matches([' ', ')']).strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok().map(|address| (address, is_leftover))
}

/// A call at the start of the text: `[<ffffffff81000000>] name+0x10/0x20`, ` name+0x10/0x20 [module]`, ` ? name+0x10/0x20`.
fn call_at_start(text: &str) -> Option<Call<'_>> {
    let rest = after_marks(text);
    let mut rest = rest.strip_prefix('(').unwrap_or(rest); // s390 puts the first one in parentheses
    let mut address = None;
    // PowerPC prints stack pointer and address, each in brackets; x86 the address.
    for _ in 0..3 {
        let Some((found, after)) = bracketed(rest) else { break };
        address = Some(found);
        rest = after.trim_start_matches(' ');
    }
    let mut is_leftover = false;
    if let Some(after) = rest.strip_prefix("? ") {
        (is_leftover, rest) = (true, after.trim_start_matches(' '));
    }
    rest = rest.strip_prefix('(').unwrap_or(rest);
    let call = symbol(rest)?;
    is_leftover |= text.ends_with("(unreliable)");
    Some(Call { address, is_leftover, ..call })
}

/// The module of a function that some line names: a report may tell of others besides the stack at the fault.
pub(super) fn module_of(name: &str, lines: &[&str]) -> Option<String> {
    // Where the name is the end of a longer one it is another function.
    let begins = |line: &str, at: usize| {
        at.checked_sub(1)
            .and_then(|before| line.as_bytes().get(before))
            .is_none_or(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))
    };
    let mut places = lines.iter().flat_map(|line| {
        line.match_indices(name).filter(|(at, _)| begins(line, *at)).filter_map(|(at, _)| symbol(line.get(at..)?))
    });
    places.find(|call| call.name == name).and_then(|call| call.module).map(str::to_owned)
}

/// `name.isra.0+0x10/0x20 [module]`; an offset that is written must be there, a size need not.
pub(super) fn symbol(text: &str) -> Option<Call<'_>> {
    // Some print the processor's selector in front: `0010:name+0x10/0x20`.
    let text = match text.split_once(':') {
        Some((selector, rest)) if selector.len() <= 4 && selector.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => text,
    };
    let length =
        text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$')).count();
    let (whole, rest) = (text.get(..length)?.trim_start_matches('.'), text.get(length..)?); // 64-bit PowerPC's begin with a dot
    let rest = rest.strip_prefix("+0x")?;
    let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    let offset = u64::from_str_radix(rest.get(..digits)?, 16).ok()?;
    let mut rest = rest.get(digits..)?;
    if let Some(size) = rest.strip_prefix("/0x") {
        rest = size.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
    }
    let name = whole.split('.').next().filter(|name| is_name(name))?;
    let mut call = Call { name, offset, address: None, module: None, source: None, is_leftover: false };
    for word in rest.split_whitespace().take(3) {
        if let Some(module) = word.strip_prefix('[') {
            call.module = Some(module.trim_end_matches([']', ')'])).filter(|module| *module != "inline");
        } else if let Some((file, line)) = word.split_once(':') {
            call.source = line.parse().ok().map(|line| (file, line)).or(call.source);
        }
    }
    Some(call)
}

/// A function's name.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
}

/// `[<ffffffff81000000>]` or `[c000000001234567]`, and what follows.
pub(super) fn bracketed(text: &str) -> Option<(u64, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let digits = inside.trim_start_matches('<').trim_end_matches('>');
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    u64::from_str_radix(digits, 16).ok().map(|address| (address, rest))
}

/// What a line of registers says about where the processor stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pointer<'a> {
    /// In a function.
    At(Call<'a>),
    /// At an address without a name: a bad jump, or user mode.
    Nowhere,
}

/// Names of the instruction pointer, by architecture: x86-64 and older x86, PowerPC, arm64, older ARM, RISC-V.
static POINTERS: [&str; 11] =
    ["RIP:", "EIP:", "EIP is at", "IP:", "NIP", "PC is at", "pc :", "epc :", "epc   :", "ERA:", "Krnl PSW :"];

static POINTER_WORDS: Words = Words::of(&POINTERS);

/// A whole address, of 32 or 64 bits.
fn is_address(word: &str) -> bool {
    matches!(word.len(), 8 | 16) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What PowerPC's kernels print amid a stack where an exception came: `--- interrupt: 700 at name+0x10/0x20`.
pub(super) fn interrupted(text: &str) -> Option<Call<'_>> {
    let rest = ["--- interrupt: ", "--- Exception: "].iter().find_map(|words| text.strip_prefix(words))?;
    symbol(rest.split_once(" at ")?.1.trim_start_matches('.'))
}

/// The line's instruction pointer.
pub(super) fn pointer(text: &str) -> Option<Pointer<'_>> {
    if let Some(call) = interrupted(text) {
        return Some(Pointer::At(call));
    }
    if !POINTER_WORDS.are_in(text) {
        return None;
    }
    let (at, name) =
        POINTERS.iter().find_map(|name| Some((memchr::memmem::find(text.as_bytes(), name.as_bytes())?, *name)))?;
    let mut rest = text.get(at.saturating_add(name.len())..)?.trim_start_matches([' ', ':']);
    if let Some((selector, after)) = rest.split_once(':') {
        if selector.len() <= 4 && selector.bytes().all(|byte| byte.is_ascii_digit()) {
            rest = after.trim_start();
        }
    }
    let mut address = None;
    for _ in 0..3 {
        let Some((found, after)) = bracketed(rest) else { break };
        (address, rest) = (Some(found), after.trim_start());
    }
    // 32-bit x86 prints the function in the next line: `EIP is at name+0x10/0x20`.
    if rest.starts_with("EFLAGS:") {
        return None;
    }
    if let Some(call) = symbol(rest) {
        return Some(Pointer::At(Call { address, ..call }));
    }
    // MIPS and LoongArch print an address without brackets; s390 a mask and an address, and the function in parentheses.
    let (mut plain, mut printed) = (rest, None);
    for _ in 0..2 {
        let Some((word, after)) = plain.split_once(' ').filter(|(word, _)| is_address(word)) else { break };
        (printed, plain) = (u64::from_str_radix(word, 16).ok(), after.trim_start_matches([' ', '(']));
    }
    if let Some(call) = symbol(plain) {
        return Some(Pointer::At(Call { address: printed, ..call }));
    }
    let is_nowhere = rest.starts_with("0x") || rest.contains("(null)") || rest.starts_with("[<") || address.is_some();
    is_nowhere.then_some(Pointer::Nowhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&str> {
        calls(text).map(|call| call.name).collect()
    }

    #[test]
    fn calls_of_every_architecture_are_read() {
        for (text, expected) in [
            (" [<ffffffff81d8e482>] dump_frob+0xf6/0x184", vec!["dump_frob"]),
            (" frob_open.isra.0+0x10/0x20 [frob]", vec!["frob_open"]),
            ("[c000000001234560] [c000000000123456] frob_close+0x10/0x20 (unreliable)", vec!["frob_close"]),
            ("[<c010f000>] (frob_read) from [<c0110000>] (vfs_frob+0x10/0x20)", vec!["frob_read", "vfs_frob"]),
            (" frob_read from vfs_frob+0x10/0x20", vec!["frob_read", "vfs_frob"]),
            (" frob_read [frob] from frob_open+0x10/0x20 [frob]", vec!["frob_read", "frob_open"]),
            ("[<bf000010>] (frob_read [frob]) from [<c0110000>] (vfs_frob+0x10/0x20)", vec!["frob_read", "vfs_frob"]),
            (" a message from frob+0x10/0x20", vec![]),
            (" [<000000000011d7ea>] frob_write+0x12/0x34", vec!["frob_write"]),
            ("([<0000000000112345>] frob_first+0x12/0x34)", vec!["frob_first"]),
            ("[c0000000fc3834a0] [c0000000000e7c58] .frob_check+0x78/0x90", vec!["frob_check"]),
            (" <IRQ>  [<ffffffff81656735>] dump_frob+0x19/0x1b", vec!["dump_frob"]),
            (" <<EOE>> <IRQ>  [<ffffffff81584ca7>] frob_deliver+0x47/0x80", vec!["frob_deliver"]),
            (" <IRQ>", vec![]),
            ("Modules linked in: frob", vec![]),
            ("Code: 00 11 22", vec![]),
            ("CPU: 1 PID: 2 Comm: x", vec![]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
        assert_eq!(without_name("([<00000000027f8000>] 0x27f8000)"), Some((0x27f_8000, false)));
        assert_eq!(without_name(" ? 0xffffffffc0123456"), Some((0xffff_ffff_c012_3456, true)));
        assert_eq!(without_name(" frob_open+0x10/0x20"), None);
        let call = calls(" ? frob_probe+0x1f/0x40 drivers/frob.c:12 [frob]").next().expect("a call");
        assert!(call.is_leftover);
        assert_eq!((call.module, call.source, call.offset), (Some("frob"), Some(("drivers/frob.c", 12)), 0x1f));
    }

    #[test]
    fn instruction_pointers_of_every_architecture_are_read() {
        for text in [
            "RIP: 0010:frob_open+0x10/0x20",
            "RIP: 0010:[<ffffffff81000000>]  [<ffffffff81000000>] frob_open+0x10/0x20",
            "EIP: frob_open+0x10/0x20",
            "NIP [c000000000123456] frob_open+0x10/0x20",
            "pc : frob_open+0x10/0x20",
            "PC is at frob_open+0x10/0x20",
            "epc : frob_open+0x10/0x20",
            "epc   : 80123456 frob_open+0x10/0x20",
            "  ERA: 9000000000123456 frob_open+0x10/0x20",
            "Krnl PSW : 0704c00180000000 000003ff8001234a (frob_open+0x2a/0x50 [frob])",
            "--- interrupt: 700 at frob_open+0x2c/0x70",
            "--- Exception: 300 at .frob_open+0x2c/0x70",
        ] {
            assert!(matches!(pointer(text), Some(Pointer::At(call)) if call.name == "frob_open"), "{text}");
        }
        for text in ["RIP: 0033:0x7f0011223344", "RIP: 0010:[<          (null)>]           (null)", "EIP: 0x1234"] {
            assert_eq!(pointer(text), Some(Pointer::Nowhere), "{text}");
        }
        // PowerPC prints the line with the function later.
        for text in [
            "IPv6: link",
            "EIP: 0060:[<f8e40765>] EFLAGS: 00210246 CPU: 1",
            "NIP:  c00000000022d79c LR: c00000000022d784 CTR: 0000000000000000",
        ] {
            assert_eq!(pointer(text), None, "{text}");
        }
    }

    #[test]
    fn rust_names_are_shown_as_they_were_written() {
        assert_eq!(demangled("_ZN4frob4open17h0123456789abcdefE"), "frob::open");
        assert_eq!(demangled("frob_open"), "frob_open");
        assert_eq!(demangled("_Z9frob_openii"), "frob_open");
    }
}
