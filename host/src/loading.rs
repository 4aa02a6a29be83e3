//! Content on its way into an image, seen from who has rights: the input is handed to a worker that has none, and what that answers
//! is counted, compared by its digest and sealed, not read.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use watertight_content::sigma::{find, Found};
use watertight_policy::Owned;

use crate::printable::printable;
use crate::slots::ContentId;
use crate::supervisor::dumps::{note, Noter, CONTENT_ID, PHASE};
use crate::supervisor::process::{Death, Worker};
use crate::worker::content::{Header, Texts, HEADER_BYTES_MAX};
use crate::worker::report::Report;

/// Largest image: what a pack may hold.
const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// From a worker's start to its end, by the clock on the wall: its processor time is bounded by itself, and a machine may be busy.
const LOADER_MAX: Duration = Duration::from_secs(30);
const COMPILER_MAX: Duration = Duration::from_secs(300);
/// Between the end of a worker's pipe and its own.
const END_MAX: Duration = Duration::from_secs(1);
/// Bytes taken from the pipe at once.
const PIECE_BYTES: usize = 64 << 10;

/// An image, ready to be handed to a detector.
#[derive(Debug)]
pub struct Content {
    /// The pack's id; of rules that were compiled here, the image's.
    pub id: ContentId,
    /// Sealed memory.
    pub image: OwnedFd,
    /// What it is.
    pub header: Arc<Header>,
}

/// Why there is no image.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    /// The worker looked at the content and does not take it.
    #[error("{0}")]
    Refused(String),
    /// The worker did not survive the content, or gave no answer that makes sense.
    #[error("{0}")]
    Fatal(String),
    /// By this machine's fault, or somebody's who ended the worker: it says nothing about the content.
    #[error("{0}")]
    Host(String),
}

/// The image of a pack, from a loader of its own; the caller has found out that its bytes are those of this id.
///
/// # Errors
/// The loader refuses the pack or does not survive it, or none can be started.
pub fn load_pack(pack: &[u8], id: ContentId) -> Result<Content, LoadError> {
    // What it is called and which version it is, is not known before.
    let noter = || -> Noter { Box::new(move || vec![note(CONTENT_ID, id.to_string()), note(PHASE, "loading")]) };
    let made = made_by("load", pack, LOADER_MAX, noter()).or_else(|failed| match failed.may_be_from_outside {
        true => {
            crate::say!("watertight: {}; it is tried once more", printable(&failed.error.to_string()));
            made_by("load", pack, LOADER_MAX, noter())
        }
        false => Err(failed),
    });
    let (header, image) = made.map_err(|failed| failed.error)?;
    Ok(Content { id, image, header: Arc::new(header) })
}

/// No image was made.
struct Failed {
    error: LoadError,
    /// It ended by a signal, or was stopped: which signals somebody has sent can't be told.
    may_be_from_outside: bool,
}

impl From<LoadError> for Failed {
    fn from(error: LoadError) -> Self {
        Self { error, may_be_from_outside: false }
    }
}

/// The image of the shipped rules and those in these folders, from a compiler of its own.
///
/// # Errors
/// A file can't be read, the compiler refuses all of them or does not survive them, or none can be started.
pub fn compile(folders: &[PathBuf]) -> Result<Content> {
    let mut texts = Texts::default();
    for folder in folders {
        let Found { path, texts: read, unreadable, .. } = find(folder);
        if let Some(error) = unreadable.into_iter().next() {
            return Err(error).context("reading rules");
        }
        texts.folders.push((path, read));
    }
    let made = made_by("compile", &serde_json::to_vec(&texts)?, COMPILER_MAX, Box::new(Vec::new));
    let (header, image) = made.map_err(|failed| failed.error)?;
    let id = header.digest.parse().context("the compiler names the image")?;
    Ok(Content { id, image, header: Arc::new(header) })
}

fn made_by(name: &str, input: &[u8], most: Duration, noter: Noter) -> Result<(Header, OwnedFd), Failed> {
    let host = |error: anyhow::Error| LoadError::Host(format!("the {name} worker: {error:#}"));
    let until = Instant::now() + most;
    let input = sealed(input).map_err(host)?;
    let mut worker = Worker::start(name, &[], (Stdio::from(input), Stdio::piped()), &[], Some(noter)).map_err(host)?;
    // One that can't confine itself says nothing about the content, which it has not looked at.
    worker.wait_ready(&mut |_| {}).map_err(host)?;
    let answered = match worker.child.stdout.take() {
        Some(pipe) => answered_by(pipe.into(), until),
        None => Err("it has no pipe".to_owned()),
    };
    let Err(why) = answered else {
        let _ = worker.child.kill(); // all that it had to say is here
        let _ = worker.child.wait(); // its exit says nothing more
        return answered.map_err(|why| LoadError::Fatal(why).into());
    };
    if let Some(refused) = refusal(&mut worker) {
        let _ = worker.child.kill(); // as above
        let _ = worker.child.wait();
        return Err(LoadError::Refused(refused).into());
    }
    // It may still be there: its answer made no sense, or did not come. Then the end that it gets is ours.
    let ended = end_of(&mut worker).map_err(host)?;
    let _ = worker.child.kill(); // it is ours; a failure means that it has ended
    let status = worker.child.wait().map_err(|error| host(error.into()))?;
    let may_be_from_outside = ended.is_none_or(|status| status.signal().is_some());
    let error = match worker.death_by(status) {
        Death::Killed(cause) if ended.is_some() => LoadError::Host(format!("the {name} worker {cause} from outside")),
        death if ended.is_some_and(|status| !status.success()) => {
            LoadError::Fatal(format!("the {name} worker {} ({why})", death.words()))
        }
        _ => LoadError::Fatal(format!("the {name} worker {why}")),
    };
    Err(Failed { error, may_be_from_outside })
}

/// How a worker has ended whose pipe is closed; none if it is still there.
fn end_of(worker: &mut Worker) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + END_MAX;
    loop {
        let status = worker.child.try_wait().context("waiting for it")?;
        if status.is_some() || Instant::now() >= until {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Why the worker does not take the content, if it has said so.
fn refusal(worker: &mut Worker) -> Option<String> {
    let said = worker.said_until(Instant::now() + Duration::from_millis(100));
    said.into_iter().find_map(|report| match report {
        Report::Refused { why } => Some(why),
        _ => None,
    })
}

/// What a worker that makes images answers on this pipe until then: what it says of the content, and the image, sealed.
///
/// # Errors
/// It is no such answer, in words that follow the worker's name.
pub fn answered_by(pipe: OwnedFd, until: Instant) -> Result<(Header, OwnedFd), String> {
    answer(&mut Pipe { pipe: File::from(pipe), until })
}

/// Reads an answer: a header and exactly as many bytes as it tells of, with the digest that it tells.
fn answer(pipe: &mut Pipe) -> Result<(Header, OwnedFd), String> {
    let mut size = [0; 8];
    pipe.fill(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > HEADER_BYTES_MAX {
        return Err(format!(
            "answers with a header of {size} bytes, more than the {HEADER_BYTES_MAX} that it may have"
        ));
    }
    let mut header = vec![0; usize::try_from(size).unwrap_or(0)];
    pipe.fill(&mut header)?;
    let header: Header = serde_json::from_slice(&header).map_err(|error| format!("answers with no header: {error}"))?;
    // Checked where it was read, and once more where nobody believes whoever read it.
    if let Some(policy) = &header.policy {
        let owned = Owned { pack: policy.rules.clone(), ..Owned::default() };
        policy
            .check()
            .and_then(|()| owned.check())
            .map_err(|error| format!("answers with a policy that is none: {error}"))?;
    }
    if header.image_bytes > IMAGE_BYTES_MAX {
        let bytes = header.image_bytes;
        return Err(format!(
            "answers with an image of {bytes} bytes, more than the {IMAGE_BYTES_MAX} that it may have"
        ));
    }
    let mut image = memory().map_err(|error| error.to_string())?;
    let (mut left, mut digest) = (header.image_bytes, Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = piece.get_mut(..most).unwrap_or_default();
        let length = pipe.some(piece)?;
        let piece = piece.get(..length).filter(|piece| !piece.is_empty()).ok_or("ended within its answer")?;
        image.write_all(piece).map_err(|error| format!("fills the memory: {error}"))?;
        digest.update(piece);
        left = left.saturating_sub(piece.len() as u64);
    }
    if pipe.some(&mut [0])? > 0 {
        return Err("says more than it told of".into());
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != header.digest {
        return Err("answers with an image that has another digest than it tells".into());
    }
    let image = seal(image).map_err(|error| error.to_string())?;
    Ok((header, image))
}

/// A pipe that is not waited for without end.
struct Pipe {
    pipe: File,
    until: Instant,
}

impl Pipe {
    /// Some bytes; none at the end.
    fn some(&mut self, piece: &mut [u8]) -> Result<usize, String> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err("gave no answer in time: it hangs".into()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(format!("can't be heard: {error}")),
                Ok(_) => {}
            }
            return self.pipe.read(piece).map_err(|error| format!("can't be heard: {error}"));
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match self.some(rest)? {
                0 => return Err("ended without an answer".into()),
                length => length,
            };
            rest = std::mem::take(&mut rest).get_mut(length..).unwrap_or_default();
        }
        Ok(())
    }
}

fn memory() -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(memfd_create("watertight-content", flags).context("making memory for the content")?))
}

/// Nobody changes it from here on, whoever it is handed to.
fn seal(mut file: File) -> Result<OwnedFd> {
    file.rewind().context("rewinding memory")?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(file.as_fd(), seals).context("sealing memory")?;
    Ok(file.into())
}

fn sealed(bytes: &[u8]) -> Result<OwnedFd> {
    let mut file = memory()?;
    file.write_all(bytes).context("filling memory")?;
    seal(file)
}

#[cfg(test)]
mod tests {
    use watertight_policy::Policy;

    use super::*;

    fn heard(said: &[u8]) -> Result<(Header, OwnedFd), String> {
        let (from, mut to) = std::io::pipe().expect("a pipe");
        to.write_all(said).expect("it fits");
        drop(to);
        let until = Instant::now() + Duration::from_secs(60);
        answer(&mut Pipe { pipe: File::from(OwnedFd::from(from)), until })
    }

    fn said(header: &Header, image: &[u8]) -> Vec<u8> {
        let header = serde_json::to_vec(header).expect("JSON");
        [&(header.len() as u64).to_le_bytes(), header.as_slice(), image].concat()
    }

    fn header(image: &[u8]) -> Header {
        Header { image_bytes: image.len() as u64, digest: ContentId::of(image).to_string(), ..Header::default() }
    }

    #[test]
    fn an_answer_is_sealed_and_has_the_digest_that_it_tells() {
        let (told, image) = heard(&said(&header(b"image"), b"image")).expect("it is whole");
        assert_eq!(told.image_bytes, 5);
        let mapped = crate::worker::mapping::Mapping::of(image.as_fd()).expect("sealed");
        assert_eq!(mapped.bytes(), b"image");
        assert!(rustix::io::pwrite(&image, b"x", 0).is_err(), "nobody changes it");
    }

    #[test]
    fn an_answer_that_is_cut_longer_or_other_than_it_tells_is_refused() {
        let image = b"image".as_slice();
        let whole = said(&header(image), image);
        for (wrong, why) in [
            (whole[..4].to_vec(), "ended without an answer"),
            (whole[..whole.len() - 1].to_vec(), "ended within its answer"),
            ([whole.as_slice(), b"x"].concat(), "more than it told"),
            (said(&header(b"other"), image), "another digest"),
            (said(&Header { image_bytes: u64::MAX, ..header(image) }, image), "an image of 18446744073709551615 bytes"),
            (u64::MAX.to_le_bytes().to_vec(), "a header of 18446744073709551615 bytes"),
            ([&4_u64.to_le_bytes(), b"nope".as_slice()].concat(), "no header"),
            (said(&Header { policy: Some(Policy::default()), ..header(image) }, image), "a policy that is none"),
        ] {
            let refused = heard(&wrong).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_worker_that_gives_no_answer_is_not_waited_for() {
        let (from, _to) = std::io::pipe().expect("a pipe");
        let refused = answer(&mut Pipe { pipe: File::from(OwnedFd::from(from)), until: Instant::now() });
        assert!(refused.is_err_and(|why| why.contains("hangs")));
    }
}
