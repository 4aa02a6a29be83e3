//! Landlock: no file can be opened and no TCP socket bound or connected any more. What is open stays usable.
//!
//! Best effort by the kernel's version, because an older Landlock is better than none; what it came to is told, never assumed.

use landlock::{
    Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetError, RulesetStatus, Scope, ABI,
};

/// Everything that this version asks for: files (including ioctl on devices), TCP, abstract sockets and signals.
const WANTED: ABI = ABI::V6;

/// Closes the file system and the network, and says what the kernel granted.
pub fn close() -> String {
    match restrict() {
        Ok(status) => told(&status),
        Err(error) => format!("none: {error}"),
    }
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
