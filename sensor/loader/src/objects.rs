//! The kernel objects, embedded, and their digests: an object that is not the one that was built is not loaded.

use anyhow::Context as _;
use libbpf_rs::{ObjectBuilder, OpenObject};
use sha2::{Digest as _, Sha256};

use crate::kernel_types::Cut;

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

impl KernelObject {
    /// Opens the object. What comes with it must live until it is loaded.
    ///
    /// # Errors
    /// As [`Self::verified`], or the bytes are not what libbpf takes.
    pub fn open(&self) -> anyhow::Result<(OpenObject, Option<Cut>)> {
        let types = Cut::of(self);
        let mut builder = ObjectBuilder::default();
        if let Some(types) = &types {
            builder.btf_custom_path(types.path())?;
        }
        let open =
            builder.open_memory(self.verified()?).with_context(|| format!("opening the {} object", self.name))?;
        Ok((open, types))
    }

    /// The bytes, once their digest has been checked.
    ///
    /// # Errors
    /// The bytes in this executable are not those that were built.
    pub fn verified(&self) -> anyhow::Result<&'static [u8]> {
        let digest = Sha256::digest(self.bytes);
        anyhow::ensure!(
            digest.as_slice() == self.sha256,
            "the {} object in this executable is damaged: install watertight-loader again",
            self.name
        );
        Ok(self.bytes)
    }

    /// Eight bytes of the digest in hexadecimal: the name of the build in the pin folder.
    #[must_use]
    pub fn build_id(&self) -> String {
        self.sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
