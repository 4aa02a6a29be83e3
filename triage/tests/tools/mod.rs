//! Compiles for Windows: with clang and the linker that comes with Rust. Without them who asks says so and ends.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the driver is linked to lie.
pub const DRIVER: u64 = 0xffff_f806_7143_0000;

/// The linker that comes with Rust.
fn linker() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let mut targets = std::fs::read_dir(root.join("lib/rustlib")).ok()?.flatten();
    targets.find_map(|target| Some(target.path().join("bin/rust-lld")).filter(|path| path.is_file()))
}

fn compiler() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"].into_iter().find(works)
}

/// Compiles the driver; `None` where the tools are not there.
pub fn compile(folder: &Path, level: &str) -> Option<PathBuf> {
    let (Some(compiler), Some(linker)) = (compiler(), linker()) else {
        println!("skipped: no clang or no linker");
        return None;
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/windows/driver.c");
    let (object, image) = (folder.join("driver.obj"), folder.join("driver.sys"));
    let flags = [
        "--target=x86_64-pc-windows-msvc",
        level,
        "-g",
        "-gcodeview",
        "-ffreestanding",
        "-funwind-tables",
        "-mgeneral-regs-only",
        "-fno-stack-protector",
        "-c",
    ];
    let run = |command: &mut Command| {
        let output = command.output().expect("started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new(compiler).args(flags).arg(&source).arg("-o").arg(&object));
    run(Command::new(linker)
        .args(["-flavor", "link", "/subsystem:native", "/driver", "/entry:entry", "/nodefaultlib", "/debug"])
        .arg(format!("/base:{DRIVER:#x}"))
        .arg(format!("/pdb:{}", folder.join("driver.pdb").display()))
        .arg(format!("/out:{}", image.display()))
        .arg(&object));
    Some(image)
}
