//! Landlock: no file can be opened and no TCP socket bound or connected any more. What is open stays usable. Who speaks to web servers may
//! connect, and read what tells where they are.
//!
//! Best effort by the kernel's version, because an older Landlock is better than none; what it came to is told, never assumed.

use landlock::{
    path_beneath_rules, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, ABI,
};

/// Everything that this version asks for: files (including ioctl on devices), TCP, abstract sockets and signals.
const WANTED: ABI = ABI::V6;

/// Where the C library reads how names are looked up, and what it loads for that.
const NAMES: [&str; 6] = ["/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/usr/lib", "/lib"];

/// Closes the file system and the network, and says what the kernel granted.
pub fn close() -> String {
    match restrict() {
        Ok(status) => told(&status),
        Err(error) => format!("none: {error}"),
    }
}

/// Closes the file system but for what looking up names needs, of the network what would take connections, and says what the kernel
/// granted.
pub fn leave_names() -> String {
    match restrict_but_names(false) {
        Ok(status) => told(&status),
        Err(error) => format!("none: {error}"),
    }
}

/// The same for who keeps files in its working directory: plain files and folders, and nothing that is run.
pub fn leave_names_and_home() -> String {
    match restrict_but_names(true) {
        Ok(status) => told(&status),
        Err(error) => format!("none: {error}"),
    }
}

fn restrict_but_names(has_home: bool) -> Result<RestrictionStatus, RulesetError> {
    let kept = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile;
    let home = has_home.then_some(".");
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(WANTED))?
        .create()?
        // What is not there on this machine is left out.
        .add_rules(path_beneath_rules(NAMES, AccessFs::from_read(WANTED)))?
        .add_rules(path_beneath_rules(home, kept))?
        .restrict_self()
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .restrict_self()
}

fn told(status: &RestrictionStatus) -> String {
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            format!("ABI {}", kernel_abi.unwrap_or(effective_abi as i32))
        }
        LandlockStatus::NotEnabled => "add landlock to the kernel's lsm= list".into(),
        LandlockStatus::NotImplemented => "this kernel has no Landlock".into(),
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => format!("files, network and signals ({abi})"),
        RulesetStatus::PartiallyEnforced => format!("partly: files and what else the kernel has ({abi})"),
        RulesetStatus::NotEnforced => format!("none: {abi}"),
    }
}
