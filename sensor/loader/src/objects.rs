//! The kernel objects, embedded, and their digests: an object that is not the one that was built is not loaded.

use sha2::{Digest as _, Sha256};

include!(concat!(env!("OUT_DIR"), "/digests.rs"));

/// A kernel object as built.
pub struct KernelObject {
    /// Name for messages.
    pub name: &'static str,
    bytes: &'static [u8],
    sha256: [u8; 32],
}

/// The hooks that collect.
pub const TELEMETRY: KernelObject = KernelObject {
    name: "telemetry",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/telemetry.bpf.o")),
    sha256: TELEMETRY_SHA256,
};

/// The hooks that deny.
pub const GUARD: KernelObject = KernelObject {
    name: "guard",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/guard.bpf.o")),
    sha256: GUARD_SHA256,
};

/// The processes that are there already, read by an iterator.
pub const SNAPSHOT: KernelObject = KernelObject {
    name: "snapshot",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/snapshot.bpf.o")),
    sha256: SNAPSHOT_SHA256,
};

/// One LSM program that allows everything, for the trial.
pub const PROBE: KernelObject = KernelObject {
    name: "probe",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/probe.bpf.o")),
    sha256: PROBE_SHA256,
};

/// Tells the loader what the kernel knows of its open files.
pub const IDENTIFY: KernelObject = KernelObject {
    name: "identify",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/identify.bpf.o")),
    sha256: IDENTIFY_SHA256,
};

/// The bytes in this executable are not those that were built.
#[derive(Debug, thiserror::Error)]
#[error("the {name} object in this executable is damaged: install watertight-loader again")]
pub struct Damaged {
    name: &'static str,
}

/// The exit code that tells it: what failed was not the kernel.
pub const EXIT_DAMAGED: u8 = 70;

impl KernelObject {
    /// The bytes, once their digest has been checked.
    ///
    /// # Errors
    /// The bytes in this executable are not those that were built.
    pub fn verified(&self) -> anyhow::Result<&'static [u8]> {
        let digest = Sha256::digest(self.bytes);
        if digest.as_slice() != self.sha256 {
            anyhow::bail!(Damaged { name: self.name });
        }
        Ok(self.bytes)
    }

    /// Eight bytes of the digest in hexadecimal: the name of the build in the pin folder.
    #[must_use]
    pub fn build_id(&self) -> String {
        self.sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
