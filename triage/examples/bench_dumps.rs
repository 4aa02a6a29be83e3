//! Time and memory of reading Windows dumps: a small one, and one of 1 GB by bitmap, both of the re-enacted crash.
//!
//! `cargo run --release -p watertight-triage --example bench_dumps`. A dump of yours: give its file.

#[path = "../tests/windows/machine.rs"]
#[allow(dead_code)] // the tests use the rest of it
mod machine;
#[path = "../tests/windows/scene.rs"]
#[allow(dead_code)] // the tests use the rest of it
mod scene;
#[path = "../tests/windows/writer.rs"]
#[allow(dead_code)] // the tests use the rest of it
mod writer;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use watertight_triage::{examine, Options};

/// Pages that make 1 GB.
const PAGES: u64 = (1 << 30) / 4096;
/// Runs of each file, of which the fastest and the slowest are told.
const RUNS: u32 = 5;

fn main() -> std::io::Result<()> {
    println!("{:<28} {:>12} {:>9} {:>9} {:>10}", "dump", "bytes", "min ms", "max ms", "peak MB");
    for file in std::env::args_os().skip(1) {
        measure(&file.to_string_lossy(), Path::new(&file))?;
    }
    let folder = tempfile::tempdir()?;
    let machine = scene::machine();
    let small = folder.path().join("small.dmp");
    std::fs::write(&small, writer::small(&machine, &scene::pieces()))?;
    measure("small", &small)?;
    let big = folder.path().join("bitmap.dmp");
    write_big(&big, &writer::bitmap(&machine, 5))?;
    measure("bitmap, 1 GB", &big)
}

/// The dump with a gigabyte of further pages behind its own. They are holes in the file: the reader can't know.
fn write_big(path: &Path, dump: &[u8]) -> std::io::Result<()> {
    let long = |at: usize| u64::from_le_bytes(dump[at..at + 8].try_into().expect("eight bytes"));
    let (first_page, bits) = (long(0x2020) as usize, long(0x2030));
    let mut map = dump[0x2038..0x2038 + bits.div_ceil(8) as usize].to_vec();
    map.resize((bits + PAGES).div_ceil(8) as usize, 0);
    for frame in bits..bits + PAGES {
        map[(frame / 8) as usize] |= 1 << (frame % 8);
    }
    let moved = (0x2038 + map.len()).next_multiple_of(4096);
    let mut head = dump[..0x2038].to_vec();
    head[0x2020..0x2028].copy_from_slice(&(moved as u64).to_le_bytes());
    head[0x2030..0x2038].copy_from_slice(&(bits + PAGES).to_le_bytes());
    head.extend(map);
    head.resize(moved, 0);
    let mut file = std::fs::File::create(path)?;
    file.write_all(&head)?;
    file.write_all(&dump[first_page..])?;
    file.set_len(moved as u64 + (dump.len() - first_page) as u64 + PAGES * 4096)
}

fn measure(name: &str, path: &Path) -> std::io::Result<()> {
    let mut times: Vec<Duration> = Vec::new();
    let mut frames = 0;
    for _ in 0..RUNS {
        let begun = Instant::now();
        examine(path, &Options::default(), &mut |report| frames = report.frames.len());
        times.push(begun.elapsed());
    }
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let peak: f64 = peak.unwrap_or(0.0) / 1024.0;
    let bytes = std::fs::metadata(path)?.len();
    let (min, max) = (ms(times.iter().min()), ms(times.iter().max()));
    println!("{name:<28} {bytes:>12} {min:>9.1} {max:>9.1} {peak:>10.1}  {frames} frames");
    Ok(())
}
