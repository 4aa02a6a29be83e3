//! Compiles the kernel objects with Debian's clang-19 against the header printed from the ABI definition.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};
use libbpf_cargo::SkeletonBuilder;
use sha2::{Digest as _, Sha256};

const OBJECTS: [&str; 5] = ["telemetry", "guard", "snapshot", "probe", "identify"];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let sources = manifest.join("../bpf");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=WATERTIGHT_CLANG");
    fs::write(out.join("abi.h"), watertight_sensor_abi::c_header()).context("writing abi.h")?;
    let mut digests = String::new();
    for name in OBJECTS {
        let object = compile(&sources, name, &out)?;
        let bytes = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
        let digest = Sha256::digest(&bytes);
        digests.push_str(&format!(
            "/// SHA-256 of the object when it was built.\npub const {}_SHA256: [u8; 32] = {:?};\n",
            name.to_uppercase(),
            digest.as_slice()
        ));
    }
    fs::write(out.join("digests.rs"), digests).context("writing digests.rs")?;
    Ok(())
}

fn compile(sources: &Path, name: &str, out: &Path) -> Result<PathBuf> {
    let object = out.join(format!("{name}.bpf.o"));
    let clang = env::var("WATERTIGHT_CLANG").unwrap_or_else(|_| "clang-19".into());
    // Paths are mapped away so that the object, and with it the digest, is the same wherever it is built.
    let map = format!("-ffile-prefix-map={}=sensor/bpf", sources.display());
    SkeletonBuilder::new()
        .source(sources.join(format!("{name}.bpf.c")))
        .obj(&object)
        .clang(&clang)
        .clang_args([
            "-I".to_owned(),
            sources.display().to_string(),
            "-I".to_owned(),
            sources.join("include").display().to_string(),
            "-I".to_owned(),
            out.display().to_string(),
            "-mcpu=v3".to_owned(),
            "-Wall".to_owned(),
            "-Wextra".to_owned(),
            "-Werror".to_owned(),
            "-Wno-unused-parameter".to_owned(),
            "-Wno-sign-compare".to_owned(),
            "-Wno-missing-declarations".to_owned(),
            map,
        ])
        .build()
        .with_context(|| format!("compiling {name}.bpf.c with {clang}: `make deps` installs it"))?;
    Ok(object)
}
