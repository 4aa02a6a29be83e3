//! Whose code it was: the innermost frame that does not only do what its caller asks.

use crate::report::{Blamed, Frame, Trust};

/// Modules whose code does what its caller asks: C libraries, loaders, run times, the system's own.
const PASSED_MODULES: [&str; 22] = [
    "libc.so",
    "libc-",
    "ld-linux",
    "libpthread",
    "libstdc++",
    "libgcc_s",
    "linux-gate",
    "linux-vdso",
    "[vdso]",
    "ntdll",
    "kernelbase",
    "kernel32",
    "ucrtbase",
    "msvcrt",
    "vcruntime",
    "msvcp",
    "libsystem_",
    "libc++abi",
    "libdyld",
    "dyld",
    "ld-musl",
    "libclang_rt",
];

/// Functions that do the same, linked into any module. Those that end in a colon or underscore begin a name.
const PASSED_FUNCTIONS: [&str; 26] = [
    "abort",
    "raise",
    "__pthread_kill",
    "pthread_kill",
    "gsignal",
    "__assert_fail",
    "__stack_chk_fail",
    "__fortify_fail",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "strlen",
    "strcpy",
    "strcmp",
    "free",
    "malloc",
    "realloc",
    "__rust_",
    "__libc_",
    "rust_begin_unwind",
    "rust_panic",
    "core::",
    "alloc::",
    "std::",
    "fn() as core::",
];

/// Blames a frame, by its place in the stack.
pub(super) fn find(frames: &[Frame]) -> Option<(usize, Blamed)> {
    let trusted = |frame: &&Frame| frame.trust > Trust::Scan && frame.module.is_some();
    let own = frames.iter().position(|frame| trusted(&frame) && !is_passed(frame));
    let (at, why) = match own {
        Some(0) => (0, "it holds the instruction at which the thread stopped".to_owned()),
        Some(at) => {
            let from = frames.first().map(place).unwrap_or_default();
            (at, format!("the innermost frame that is no library's; passed over from {from} on"))
        }
        None => (
            frames.iter().position(|frame| frame.module.is_some())?,
            "no other frame is trusted: the stack holds nothing but libraries or words that were found by scanning"
                .to_owned(),
        ),
    };
    let frame = frames.get(at)?;
    Some((at, Blamed { module: frame.module.clone(), function: frame.function.clone(), why }))
}

/// A frame in words.
pub(super) fn place(frame: &Frame) -> String {
    match (&frame.module, &frame.function, frame.offset, frame.ip) {
        (Some(module), Some(function), _, _) => format!("{module}!{function}"),
        (None, Some(function), _, _) => function.clone(),
        (Some(module), None, Some(offset), _) => format!("{module}+{offset}"),
        (Some(module), None, None, _) => module.clone(),
        (None, None, _, Some(ip)) => ip.to_string(),
        (None, None, _, None) => "an unknown place".to_owned(),
    }
}

fn is_passed(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default().to_ascii_lowercase();
    let begins = |name: &str, list: &[&str]| list.iter().any(|start| name.starts_with(start));
    begins(&module, &PASSED_MODULES)
        || frame.function.as_deref().is_some_and(|function| {
            let function = function.trim_start_matches('<');
            PASSED_FUNCTIONS.iter().any(|passed| {
                let is_start = passed.ends_with([':', '_']);
                if is_start {
                    function.starts_with(passed)
                } else {
                    crate::bucket::steady_name(function) == *passed
                }
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(module: &str, function: Option<&str>, trust: Trust) -> Frame {
        let function = function.map(str::to_owned);
        Frame { module: Some(module.to_owned()), function, trust, ..Frame::default() }
    }

    #[test]
    fn what_does_as_its_caller_asks_is_not_blamed() {
        let stack = [
            frame("libc.so.6", Some("raise"), Trust::Context),
            frame("agent", Some("core::panicking::panic_fmt"), Trust::Unwind),
            frame("other", None, Trust::Scan),
            frame("agent", Some("agent::parse"), Trust::CallVerified),
        ];
        let (at, blamed) = find(&stack).expect("a frame");
        assert_eq!((at, blamed.function.as_deref()), (3, Some("agent::parse")));
    }

    #[test]
    fn a_stack_of_libraries_alone_blames_the_innermost_and_says_so() {
        let (at, blamed) = find(&[frame("ntdll", None, Trust::Context)]).expect("a frame");
        assert_eq!((at, blamed.module.as_deref()), (0, Some("ntdll")));
        assert!(blamed.why.contains("nothing but libraries"));
    }
}
