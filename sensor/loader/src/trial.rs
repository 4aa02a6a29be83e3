//! What the kernel admits is found by trying, never by its version: the same version differs by configuration and by patch.

use std::collections::BTreeMap;

use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::Btf;
use libbpf_rs::{ObjectBuilder, PrintLevel};
use watertight_sensor_abi::{Hook, HookClass, HOOKS};

use crate::objects::{KernelObject, PROBE};

/// Why a hook is not in use, by program name.
pub type Refusals = BTreeMap<&'static str, String>;

/// Keeps libbpf's own messages off stderr; what matters comes back as errors.
pub fn silence_libbpf() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, _| {})));
}

/// Whether one LSM program loads and attaches; `Err` says why not.
pub fn admits_lsm() -> Result<(), String> {
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

/// LSM hooks that the kernel does not have, by its own types. None where those can't be read: the trial says the same, later.
pub fn absent() -> Refusals {
    let Ok(kernel) = Btf::from_vmlinux() else { return Refusals::new() };
    let has = |hook: &&Hook| kernel.type_by_name::<Func<'_>>(&format!("bpf_lsm_{}", hook.attach_point())).is_some();
    let lsm = HOOKS.iter().filter(|hook| hook.class() == HookClass::Lsm);
    lsm.filter(|hook| !has(hook))
        .map(|hook| (hook.program(), format!("this kernel has no LSM hook {}", hook.attach_point())))
        .collect()
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

/// The innermost cause of an error, on one line.
pub fn root_cause(error: &anyhow::Error) -> String {
    error.root_cause().to_string().lines().next_back().unwrap_or_default().to_owned()
}
