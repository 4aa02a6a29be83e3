//! What the kernel admits is found by trying, never by its version: the same version differs by configuration and by patch.

use std::collections::{BTreeMap, BTreeSet};

use libbpf_rs::{ObjectBuilder, PrintLevel};
use watertight_sensor_abi::{Hook, HookClass, HOOKS};

use crate::objects::{KernelObject, PROBE};

/// The running kernel's types.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
const BTF_MAGIC: u16 = 0xeb9f;

/// Why a hook is not in use, by program name.
pub type Refusals = BTreeMap<&'static str, String>;

/// Keeps libbpf's own messages off stderr; what matters comes back as errors.
pub fn silence_libbpf() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, _| {})));
}

/// The active LSMs, by the kernel's own list; securityfs shows it.
const ACTIVE_LSMS: &str = "/sys/kernel/security/lsm";

/// Whether the kernel runs LSM programs at all: without `bpf` among its LSMs it loads and attaches them, and never calls them.
/// Where the list can't be read nothing is known against it.
pub fn runs_lsm() -> Result<(), String> {
    std::fs::read_to_string(ACTIVE_LSMS).map_or(Ok(()), |list| is_active(&list))
}

fn is_active(list: &str) -> Result<(), String> {
    let list = list.trim();
    if list.split(',').any(|name| name == "bpf") {
        return Ok(());
    }
    Err(format!("the kernel refuses BPF LSM: `bpf` is not among its LSMs ({list}), so it would take the programs and never run them"))
}

/// Whether one LSM program loads and attaches; `Err` says why not.
pub fn admits_lsm() -> Result<(), String> {
    runs_lsm()?;
    let trial = || -> anyhow::Result<()> {
        let open = ObjectBuilder::default().open_memory(PROBE.verified()?)?;
        let object = open.load()?;
        for program in object.progs_mut() {
            let _link = program.attach()?;
        }
        Ok(())
    };
    trial().map_err(|error| format!("the kernel refuses BPF LSM programs ({})", root_cause(&error)))
}

/// LSM hooks that the kernel does not have, by the names in its own types. None where those can't be read: the load says the
/// same, later.
pub fn absent() -> Refusals {
    let Some(names) = std::fs::read(KERNEL_TYPES).ok().and_then(|types| lsm_hooks(&types)) else {
        return Refusals::new();
    };
    let lsm = HOOKS.iter().filter(|hook| hook.class() == HookClass::Lsm);
    lsm.filter(|hook| !names.contains(hook.attach_point()))
        .map(|hook| (hook.program(), format!("this kernel has no LSM hook {}", hook.attach_point())))
        .collect()
}

/// The kernel's LSM hooks, from the strings of its types: each is a function `bpf_lsm_<hook>`. Strings and not types, because
/// parsing 100,000 types takes as long as half a load. `None` if the bytes are no BTF.
fn lsm_hooks(types: &[u8]) -> Option<BTreeSet<String>> {
    let word = |at: usize| {
        let bytes = types.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_ne_bytes(*bytes)).ok()
    };
    let magic = types.first_chunk::<2>().map(|bytes| u16::from_ne_bytes(*bytes))?;
    // struct btf_header: magic, version, flags, then hdr_len, type_off, type_len, str_off, str_len.
    let (header, start, bytes) = (word(4)?, word(16)?, word(20)?);
    let start = header.checked_add(start)?;
    let strings = types.get(start..start.checked_add(bytes)?).filter(|_| magic == BTF_MAGIC)?;
    let hooks = strings.split(|byte| *byte == 0).filter_map(|name| name.strip_prefix(b"bpf_lsm_"));
    Some(hooks.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Tries each program by itself and returns those that do not load, with the verifier's last words.
pub fn each_alone(object: &KernelObject, without: &Refusals) -> anyhow::Result<Refusals> {
    let mut refusals = Refusals::new();
    for hook in HOOKS.iter().filter(|hook| !without.contains_key(hook.program())) {
        let mut open = ObjectBuilder::default().open_memory(object.verified()?)?;
        for mut program in open.progs_mut() {
            let is_it = program.name() == hook.program();
            program.set_autoload(is_it);
        }
        if let Err(error) = open.load() {
            refusals.insert(hook.program(), format!("does not load: {}", root_cause(&error.into())));
        }
    }
    Ok(refusals)
}

/// What keeps every program from loading, where the kernel tells: asked only once a load has failed.
pub fn obstacle() -> Option<&'static str> {
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return Some("the kernel is locked down for confidentiality: BPF may not read kernel memory");
    }
    let has_types = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    (!has_types).then_some("the kernel does not describe its types: there is no /sys/kernel/btf/vmlinux")
}

/// The hooks of a class, all refused for one reason.
pub fn refuse_class(class: HookClass, why: &str) -> Refusals {
    HOOKS.iter().filter(|hook| hook.class() == class).map(|hook: &Hook| (hook.program(), why.to_owned())).collect()
}

/// What to do about a kernel that is locked down, which refuses every program that reads its memory; empty where it is not.
pub fn lockdown_mend() -> &'static str {
    let mode = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    match mode.contains("[confidentiality]") {
        true => {
            "; the kernel is locked down for confidentiality, which forbids BPF to read kernel memory: boot with \
             lockdown=integrity or without lockdown="
        }
        false => "",
    }
}

/// The innermost cause of an error, on one line.
pub fn root_cause(error: &anyhow::Error) -> String {
    error.root_cause().to_string().lines().next_back().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf(strings: &[u8]) -> Vec<u8> {
        let mut types = BTF_MAGIC.to_ne_bytes().to_vec();
        types.extend([1, 0]);
        for word in [24_u32, 0, 0, 0, strings.len() as u32] {
            types.extend(word.to_ne_bytes());
        }
        types.extend(strings);
        types
    }

    #[test]
    fn a_hook_is_there_if_the_kernel_names_its_function_in_full() {
        let hooks = lsm_hooks(&btf(b"\0int\0bpf_lsm_file_open\0path_unlink\0")).expect("a BTF");
        assert!(hooks.contains("file_open"));
        assert!(!hooks.contains("path_unlink"), "a kernel function of that name is no hook");
        assert!(!hooks.contains("file"), "part of a name is no hook");
    }

    #[test]
    fn bytes_that_are_no_btf_tell_nothing() {
        let whole = btf(b"\0bpf_lsm_file_open\0");
        assert_eq!(lsm_hooks(&whole[..whole.len() - 1]), None, "cut");
        assert_eq!(lsm_hooks(&[0; 64]), None, "no magic");
        assert_eq!(lsm_hooks(&[]), None);
    }

    #[test]
    fn programs_that_would_never_run_are_refused_and_the_list_is_named() {
        assert_eq!(is_active("lockdown,capability,yama,apparmor,bpf\n"), Ok(()));
        let why = is_active("lockdown,yama\n").expect_err("bpf is not in the list");
        assert!(why.contains("refuses BPF LSM") && why.contains("lockdown,yama"), "{why}");
    }

    #[test]
    fn the_running_kernel_s_hooks_are_found_where_it_has_any() {
        let Ok(types) = std::fs::read(KERNEL_TYPES) else { return };
        let hooks = lsm_hooks(&types).expect("the kernel's own types are BTF");
        assert!(hooks.is_empty() || hooks.contains("file_open"), "{hooks:?}");
    }
}
