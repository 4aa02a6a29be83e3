//! What `watertight-lab bench --triage-only` measures with, and the same by hand:
//!
//! ```text
//! bench_dumps --write FOLDER   writes files to measure: dumps, logs, a thousand oopses
//! bench_dumps [FILE...]        time and memory of reading dumps in this process; without a file, of those that it writes
//! ```

#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/windows/machine.rs"]
mod machine;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/process/writer.rs"]
mod process;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/windows/scene.rs"]
mod scene;
#[path = "bucket_quality/variants.rs"]
mod variants;
#[allow(dead_code)]
#[path = "fuzz_seeds/vmcore.rs"]
mod vmcore;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/windows/writer.rs"]
mod writer;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watertight_triage::{examine, Options};

/// Pages that make 1 GB.
const PAGES: u64 = (1 << 30) / 4096;
/// Runs of each file, of which the fastest and the slowest are told.
const RUNS: u32 = 5;
/// Bytes of the long log, and how far its crashes lie apart.
const LOG_BYTES: u64 = 128 << 20;
const CRASH_EVERY_BYTES: u64 = 1 << 20;
/// Logs of one crash each.
const OOPSES: usize = 1_000;
/// Crashes of the dense log: fewer than are told of one file, so that all of it is read.
const DENSE: usize = 960;

/// What an ordinary log is full of; `{}` is a number.
const ORDINARY: [&str; 12] = [
    "audit: type=1400 audit(1700000000.{}:41): apparmor=\"STATUS\" operation=\"profile_load\" name=\"nvidia_modprobe\" pid={}",
    "usb 1-{}: new high-speed USB device number {} using xhci_hcd",
    "eth0: renamed from veth{}",
    "EXT4-fs (sda{}): mounted filesystem with ordered data mode. Quota mode: none.",
    "br-{}: port 3(veth{}) entered forwarding state",
    "systemd[1]: Started Session {} of User root.",
    "perf: interrupt took too long ({} > 2500), lowering kernel.perf_event_max_sample_rate to {}",
    "pci 0000:00:{}.0: [8086:7110] type 00 class 0x060100",
    "TCP: request_sock_TCP: Possible SYN flooding on port {}. Sending cookies.",
    "nfs: server 10.0.0.{} not responding, still trying",
    "CPU{}: Package temperature above threshold, cpu clock throttled (total events = {})",
    "sd 0:0:0:{}: [sdb] Attached SCSI disk",
];

fn main() -> io::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if let [option, folder] = arguments.as_slice() {
        if option.as_os_str() == "--write" {
            return write(folder);
        }
    }
    println!("{:<28} {:>12} {:>9} {:>9} {:>10}", "dump", "bytes", "min ms", "max ms", "peak MB");
    for file in &arguments {
        measure(&file.to_string_lossy(), file)?;
    }
    if arguments.is_empty() {
        let folder = tempfile::tempdir()?;
        write_dumps(folder.path())?;
        for name in ["small.dmp", "bitmap.dmp"] {
            measure(name, &folder.path().join(name))?;
        }
    }
    Ok(())
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write_dumps(folder)?;
    write_cores(folder)?;
    fs::write(folder.join("linux.mdmp"), process::minidump(process::System::Linux, &[]))?;
    fs::write(folder.join("windows.mdmp"), process::minidump(process::System::Windows, &[]))?;
    let crashes: Vec<String> = variants::all().map(|(_, text)| text).collect();
    fs::write(folder.join("dense.log"), crashes.iter().cycle().take(DENSE).cloned().collect::<String>())?;
    write_log(&folder.join("long.log"), &crashes)?;
    fs::create_dir_all(folder.join("oops"))?;
    for (number, text) in crashes.iter().cycle().take(OOPSES).enumerate() {
        fs::write(folder.join("oops").join(format!("{number:04}.log")), text)?;
    }
    Ok(())
}

/// The re-enacted crash, as a small dump and by bitmap, which is 1 GB.
fn write_dumps(folder: &Path) -> io::Result<()> {
    let machine = scene::machine();
    fs::write(folder.join("small.dmp"), writer::small(&machine, &scene::pieces()))?;
    write_big(&folder.join("bitmap.dmp"), &writer::bitmap(&machine, 5))
}

/// Bytes of memory of the large cores.
const CORE_BYTES: u64 = 4 << 30;
const PAGE: usize = 4096;

/// Cores of a kernel with 4 GB of memory, all but its own pages zero: ELF, kdump-compressed and that flattened, and an ELF core in which
/// nothing says where the kernel is, so that it is looked for in all of it.
fn write_cores(folder: &Path) -> io::Result<()> {
    let kernel = vmcore::kernel::kernel(4);
    let mut core = vmcore::writer::elf(&kernel);
    // The second program header is that of memory.
    let size_at = 64 + 56 + 32;
    let memory_at = core.len() - kernel.image.len();
    for at in [size_at, size_at + 8] {
        core[at..at + 8].copy_from_slice(&CORE_BYTES.to_le_bytes());
    }
    let mut hidden = core.clone();
    let name = hidden.windows(10).position(|bytes| bytes == b"VMCOREINFO").expect("its note");
    hidden[name..name + 10].copy_from_slice(b"QEMU\0\0\0\0\0\0");
    while let Some(at) = hidden.windows(10).position(|bytes| bytes == b"OSRELEASE=") {
        hidden[at] = 0;
    }
    for (name, core) in [("core.elf", &core), ("core-lost.elf", &hidden)] {
        let mut file = File::create(folder.join(name))?;
        file.write_all(core)?;
        file.set_len(memory_at as u64 + CORE_BYTES)?;
    }
    let kdump = kdump(&kernel);
    fs::write(folder.join("core.kdump"), &kdump)?;
    fs::write(folder.join("core.flattened"), flattened(&kdump))
}

/// All pages are there; those of zeros share what is stored of one.
fn kdump(kernel: &vmcore::kernel::Kernel) -> Vec<u8> {
    let small = vmcore::writer::kdump(kernel, vmcore::writer::Compression::Zlib);
    let pages = (CORE_BYTES / PAGE as u64) as usize;
    let bitmap_blocks = 2 * pages.div_ceil(8 * PAGE);
    let mut file = small[..2 * PAGE].to_vec();
    file[436..440].copy_from_slice(&(bitmap_blocks as u32).to_le_bytes());
    file.resize((2 + bitmap_blocks) * PAGE, 0xff);
    let descriptors_at = file.len();
    file.resize(descriptors_at + pages * 24, 0);
    let store = |file: &mut Vec<u8>, bytes: &[u8]| {
        let at = file.len() as u64;
        file.extend(bytes);
        at
    };
    let compressed = |page: &[u8]| {
        let mut zlib = flate2::Compress::new(flate2::Compression::fast(), true);
        let mut stored = Vec::with_capacity(2 * PAGE);
        zlib.compress_vec(page, &mut stored, flate2::FlushCompress::Finish).expect("compresses");
        stored
    };
    let zeros = compressed(&[0; PAGE]);
    let zeros_at = store(&mut file, &zeros);
    let first = (vmcore::kernel::PHYSICAL / PAGE as u64) as usize;
    for number in 0..pages {
        let own = number.checked_sub(first).and_then(|own| kernel.image.chunks(PAGE).nth(own));
        let (at, size) = match own {
            Some(page) => {
                let stored = compressed(page);
                (store(&mut file, &stored), stored.len())
            }
            None => (zeros_at, zeros.len()),
        };
        let descriptor = descriptors_at + number * 24;
        file[descriptor..descriptor + 8].copy_from_slice(&at.to_le_bytes());
        file[descriptor + 8..descriptor + 12].copy_from_slice(&(size as u32).to_le_bytes());
        file[descriptor + 12] = 1;
    }
    for (at, part) in [(32, kernel.vmcoreinfo.as_bytes()), (48, kernel.notes.as_slice())] {
        let place = store(&mut file, part);
        file[PAGE + at..PAGE + at + 8].copy_from_slice(&place.to_le_bytes());
    }
    file[PAGE + 96..PAGE + 104].copy_from_slice(&(pages as u64).to_le_bytes());
    file
}

/// The flattened form in pieces of 16 KB, as QEMU writes it.
fn flattened(core: &[u8]) -> Vec<u8> {
    const PIECE: usize = 4 * PAGE;
    let mut file = b"makedumpfile\0\0\0\0".to_vec();
    file.extend([1_i64, 1].iter().flat_map(|word| word.to_be_bytes()));
    file.resize(PAGE, 0);
    for (number, piece) in core.chunks(PIECE).enumerate() {
        file.extend(((number * PIECE) as i64).to_be_bytes());
        file.extend((piece.len() as i64).to_be_bytes());
        file.extend(piece);
    }
    file.extend([0xff; 16]);
    file
}

/// An ordinary log with a crash now and then.
fn write_log(path: &Path, crashes: &[String]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let (mut written, mut told, mut at) = (0_u64, 0_u64, 0_u64);
    while written < LOG_BYTES {
        let text = if written >= (told + 1) * CRASH_EVERY_BYTES {
            told += 1;
            crashes[told as usize % crashes.len()].clone()
        } else {
            let words = ORDINARY[at as usize % ORDINARY.len()].replace("{}", &(at % 9_973).to_string());
            format!("[{:>5}.{:06}] {words}\n", at / 400, at % 400 * 2_500)
        };
        file.write_all(text.as_bytes())?;
        written += text.len() as u64;
        at += 1;
    }
    file.flush()
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
