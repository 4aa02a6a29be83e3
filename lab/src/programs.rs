//! What the guest runs, built here: its own init, and the product when there is one.
//!
//! The init is linked statically with flags and a target folder of its own, so that those flags touch nothing else in the
//! workspace.

use crate::tool;
use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the guest's programs lie on this machine.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The guest's /init.
    pub init: PathBuf,
    /// The static program that only exits.
    pub nothing: PathBuf,
    /// Name in the guest's /usr/bin, file here.
    pub product: Vec<(&'static str, PathBuf)>,
}

/// Where to take the product from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProductArgs {
    /// The `watertight` to put into the guest instead of building it
    #[arg(long, env = "WATERTIGHT_LAB_PRODUCT", value_name = "FILE")]
    watertight: Option<PathBuf>,
    /// The `watertight-loader` to put into the guest instead of building it
    #[arg(long, env = "WATERTIGHT_LAB_LOADER", value_name = "FILE")]
    loader: Option<PathBuf>,
    /// The `watertight` with debug assertions, which some content kills
    #[arg(long, env = "WATERTIGHT_LAB_KILLABLE", value_name = "FILE")]
    killable: Option<PathBuf>,
    /// Boot a guest without the product
    #[arg(long)]
    no_product: bool,
}

impl ProductArgs {
    /// No product at all.
    pub fn none() -> Self {
        Self { no_product: true, ..Self::default() }
    }

    /// The command `watertight` alone, built if it is not given.
    pub fn command(&self) -> Result<PathBuf> {
        if let Some(given) = &self.watertight {
            return Ok(given.clone());
        }
        let target_dir = target_dir()?;
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--release", "-p", "watertight-cli", "--target-dir"]).arg(&target_dir);
        tool::run(&mut cargo)?;
        Ok(target_dir.join("release").join("watertight"))
    }

    /// The product with debug assertions: only there some content does to the engine what its name says. Without what a debugger
    /// wants, which is four fifths of it.
    fn killable(&self, target_dir: &Path) -> Result<PathBuf> {
        if let Some(given) = &self.killable {
            return Ok(given.clone());
        }
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "-p", "watertight-cli", "--bin", "watertight", "--target-dir"]).arg(target_dir);
        tool::run(&mut cargo)?;
        let stripped = target_dir.join("lab-guest").join("watertight-killable");
        tool::run(Command::new("strip").arg("-o").arg(&stripped).arg(target_dir.join("debug/watertight")))?;
        Ok(stripped)
    }
}

impl Programs {
    /// The same without the product, for guests whose memory is small.
    pub fn without_product(&self) -> Self {
        Self { product: Vec::new(), ..self.clone() }
    }

    /// The file on this machine of a product's program.
    pub fn product_file(&self, name: &str) -> Option<&Path> {
        self.product.iter().find(|(known, _)| *known == name).map(|(_, file)| file.as_path())
    }

    /// Builds what is not given.
    pub fn build(args: &ProductArgs) -> Result<Self> {
        let target_dir = target_dir()?;
        let init = build_init(&target_dir)?;
        let nothing = build_nothing(&target_dir)?;
        let mut product = Vec::new();
        if !args.no_product {
            let is_built = args.watertight.is_none() || args.loader.is_none();
            if is_built {
                build_product(&target_dir)?;
            }
            if is_built || args.killable.is_some() {
                product.push(("watertight-killable", args.killable(&target_dir)?));
            }
            let release = target_dir.join("release");
            for (name, given) in [("watertight", &args.watertight), ("watertight-loader", &args.loader)] {
                let file = given.clone().unwrap_or_else(|| release.join(name));
                if given.is_some() || file.is_file() {
                    product.push((name, file));
                }
            }
        }
        Ok(Self { init, nothing, product })
    }
}

/// The fleet's server, and what puts it under load.
#[derive(Debug)]
pub struct FleetPrograms {
    /// `watertight-server`.
    pub server: PathBuf,
    /// `watertight-horde`.
    pub horde: PathBuf,
}

impl FleetPrograms {
    /// Builds them.
    pub fn build() -> Result<Self> {
        let target_dir = target_dir()?;
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--release", "-p", "watertight-server", "-p", "watertight-horde"]);
        tool::run(cargo.arg("--target-dir").arg(&target_dir))?;
        let release = target_dir.join("release");
        Ok(Self { server: release.join("watertight-server"), horde: release.join("watertight-horde") })
    }
}

/// What the benchmarks run beside the product.
#[derive(Debug)]
pub struct BenchPrograms {
    /// Does the work.
    pub driver: PathBuf,
    /// The smallest program, to be run by it.
    pub bare: PathBuf,
    /// The reader alone.
    pub drain: PathBuf,
}

impl BenchPrograms {
    /// Builds them.
    pub fn build() -> Result<Self> {
        let target_dir = target_dir()?;
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--release", "-p", "watertight-sensor-reader", "--example", "drain"]);
        tool::run(cargo.arg("--target-dir").arg(&target_dir))?;
        let folder = target_dir.join("lab-bench");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self {
            driver: build_without_libc("driver", &folder)?,
            bare: build_without_libc("bare", &folder)?,
            drain: target_dir.join("release/examples/drain"),
        })
    }
}

/// A static program of `bench/`, by the compiler that the kernel programs need anyway.
fn build_without_libc(name: &str, folder: &Path) -> Result<PathBuf> {
    let program = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(name).with_extension("c");
    let flags = "-O2 -Wall -Wextra -Werror -std=c17 -ffreestanding -fno-stack-protector -fno-pie -static -nostdlib";
    tool::run(Command::new("clang-19").args(flags.split(' ')).arg("-o").arg(&program).arg(source))?;
    Ok(program)
}

/// Where a program lies, by PATH.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn build_init(target_dir: &Path) -> Result<PathBuf> {
    let folder = target_dir.join("lab-guest");
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--release", "-p", "watertight-lab-guest", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&folder).env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS"); // would win over RUSTFLAGS
    tool::run(&mut cargo)?;
    Ok(folder.join(TARGET).join("release").join("watertight-lab-guest"))
}

/// A storm of processes needs a program that costs nothing: no libc, no loader, `NOTHING` of the guest's actions.
fn build_nothing(target_dir: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/src/nothing.c");
    let program = target_dir.join("lab-guest").join("wt-nothing");
    let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-asynchronous-unwind-tables"]);
    compiler.args(["-Wl,--build-id=none", "-Wl,-z,noexecstack", "-o"]).arg(&program).arg(&source);
    tool::run(&mut compiler)?;
    Ok(program)
}

fn build_product(target_dir: &Path) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--release", "-p", "watertight-cli", "-p", "watertight-sensor-loader"]);
    tool::run(cargo.arg("--target-dir").arg(target_dir))
}

pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

/// The target folder that this very program was built into: `<target>/<profile>/watertight-lab`.
fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("asking where this program lies")?;
    let folder = program.ancestors().nth(2).context("this program lies outside a target folder")?;
    Ok(folder.to_owned())
}
