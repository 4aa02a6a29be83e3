//! Parts of one crash that pstore keeps as files of their own: read as one text, in the order in which the kernel said them.
//!
//! A part begins with a line such as `Panic#2 Part1`. The first part is what was said last, because the kernel saves from the end of its
//! log backwards. Only that line is looked at here; what is behind it is read by the worker alone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use watertight_host::examiner::Examiner;
use watertight_host::pstore::said;
use watertight_triage::{Examined, Report};

/// Longest part that is joined; a backend's records have some KiB, and the largest some hundred.
const PART_BYTES_MAX: u64 = 1 << 20;

/// Parts of one crash, at most.
const PARTS_MAX: usize = 256;

/// Longest first line of a part.
const HEAD_BYTES_MAX: u64 = 64;

/// What is read as one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A file by itself.
    File(PathBuf),
    /// Parts of one crash, from the one that was said first.
    Parts(Vec<PathBuf>),
}

impl Piece {
    /// The files that it is made of.
    pub(super) fn files(&self) -> &[PathBuf] {
        match self {
            Self::File(file) => std::slice::from_ref(file),
            Self::Parts(files) => files,
        }
    }

    /// Examines it and hands out its reports, each with the place of its crash in the files that were given.
    ///
    /// # Errors
    /// Parts can't be read, or no worker can be started.
    pub(super) fn examine(&self, examiner: &mut Examiner, report: &mut dyn FnMut(Report)) -> anyhow::Result<Examined> {
        let parts = match self {
            Self::File(file) => return examiner.examine(file, report),
            Self::Parts(parts) => parts,
        };
        let joined = Joined::read(parts).context("joining parts of a crash")?;
        examiner.examine(&joined.path(), &mut |mut one| {
            joined.place(&mut one);
            report(one);
        })
    }
}

/// The files in their order, parts of one crash together where the first of them stands. Parts belong together that lie in one folder and
/// have the same reason and number; where one of them is there twice they are of several boots, and each stays by itself.
pub(super) fn pieces(files: &[PathBuf]) -> Vec<Piece> {
    let heads: Vec<Option<(String, u32)>> = files.iter().map(|file| head(file)).collect();
    let mut pieces = Vec::new();
    let mut joined: Vec<(&Path, &str)> = Vec::new();
    for (file, head) in files.iter().zip(&heads) {
        let alone = || Piece::File(file.clone());
        let (Some((reason, _)), Some(folder)) = (head, file.parent()) else {
            pieces.push(alone());
            continue;
        };
        if joined.contains(&(folder, reason.as_str())) {
            continue;
        }
        let mut parts: Vec<(u32, &PathBuf)> = files
            .iter()
            .zip(&heads)
            .filter_map(|(file, head)| {
                let (of, part) = head.as_ref()?;
                (of == reason && file.parent() == Some(folder)).then_some((*part, file))
            })
            .collect();
        parts.sort_by_key(|(part, _)| std::cmp::Reverse(*part));
        let is_twice = parts.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
        if is_twice || parts.len() < 2 || parts.len() > PARTS_MAX {
            pieces.push(alone());
            continue;
        }
        joined.push((folder, reason));
        pieces.push(Piece::Parts(parts.into_iter().map(|(_, file)| file.clone()).collect()));
    }
    pieces
}

/// Reason and number of the part that a file says it is.
fn head(file: &Path) -> Option<(String, u32)> {
    let metadata = std::fs::metadata(file).ok()?; // opening a FIFO would wait
    if !metadata.is_file() || metadata.len() > PART_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(HEAD_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    said(&String::from_utf8_lossy(&bytes))
}

/// Parts as one text in memory.
#[derive(Debug)]
struct Joined {
    text: File,
    /// Each part, where it begins in the text, and the bytes of its first line, which is not in it.
    parts: Vec<(PathBuf, u64, u64)>,
}

impl Joined {
    /// Reads the parts.
    ///
    /// # Errors
    /// When one of them can't be read, or there is no memory.
    fn read(parts: &[PathBuf]) -> io::Result<Self> {
        let memory = rustix::fs::memfd_create("watertight-parts", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut joined = Self { text: File::from(memory), parts: Vec::new() };
        for part in parts {
            let mut bytes = Vec::new();
            File::open(part)?.take(PART_BYTES_MAX).read_to_end(&mut bytes)?;
            let head = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end.saturating_add(1));
            let at = joined.text.stream_position()?;
            joined.parts.push((part.clone(), at, u64::try_from(head).unwrap_or(u64::MAX)));
            joined.text.write_all(bytes.get(head..).unwrap_or_default())?;
            if !bytes.ends_with(b"\n") {
                joined.text.write_all(b"\n")?;
            }
        }
        Ok(joined)
    }

    /// A path by which this process opens the text.
    fn path(&self) -> PathBuf {
        let mut path = OsString::from("/proc/self/fd/");
        path.push(self.text.as_raw_fd().to_string());
        PathBuf::from(path)
    }

    /// Puts a report of the text where its first line stands: into that part's file, by the bytes of that file. Where it goes on in the
    /// next parts the span ends with the part, and a warning names them.
    fn place(&self, report: &mut Report) {
        let Some(mut span) = report.span else {
            if let Some((file, ..)) = self.parts.first() {
                report.set_file(file);
            }
            return;
        };
        let place = self.parts.iter().rposition(|(_, at, _)| *at <= span.start).unwrap_or_default();
        let Some((file, at, head)) = self.parts.get(place) else { return };
        report.set_file(file);
        let behind = self.parts.get(place.saturating_add(1)..).unwrap_or_default();
        let others: Vec<_> =
            behind.iter().take_while(|(_, at, _)| *at < span.end).map(|(file, ..)| file.to_string_lossy()).collect();
        if !others.is_empty() {
            report.warnings.push(format!("the crash goes on in {}", others.join(", ")));
        }
        let end = behind.first().map_or(span.end, |(_, next, _)| span.end.min(*next));
        let in_file = |byte: u64| byte.saturating_sub(*at).saturating_add(*head);
        (span.start, span.end) = (in_file(span.start), in_file(end));
        report.span = Some(span);
    }
}
