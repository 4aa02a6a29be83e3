//! The workers that turn content into an image: the loader takes a pack, the compiler rules in text. Each reads one input, answers
//! into one pipe and ends. Whatever the input does to it, it has nothing else to harm.
//!
//! The answer: the size of a header (8 bytes, little-endian), the header as JSON, the image. The supervisor counts its bytes and
//! compares its digest; it looks at none of them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use watertight_content::sigma::Found;
use watertight_engine::Image;
use watertight_policy::Policy;

use super::fault;
use super::mapping::Mapping;
use super::report::{Report, Reporter};
use super::rules::{self, Loaded};
use super::sandbox::{self, Profile};
use crate::slots::ContentId;

/// Longest header: a pack of the most rules that the format allows, each with its id, and a policy of the most paths.
pub const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Memory from this size on is the kernel's to give and to take back.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// What an image is, for those who do not look into it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Name of the release.
    pub name: String,
    /// Its number.
    pub version: u64,
    /// The id of each rule of the image, stages of sequences too, by its position.
    pub rules: Vec<String>,
    /// How many rules there are to whoever wrote them.
    pub rule_count: usize,
    /// Rules that were refused and folders without rules, by name: they are never skipped in silence.
    pub refused: Vec<String>,
    /// Shipped rules whose place one of the user's took.
    pub replaced: usize,
    /// Canaries that came out as they must.
    pub canaries: u64,
    /// Its deny rules, checked as every policy is.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Its new deny rules and actions are in force at once.
    #[serde(default)]
    pub is_urgent: bool,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// SHA-256 of them.
    pub digest: String,
}

/// Rules in text, as the compiler gets them: for each folder its name, and its files with what is in them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Texts {
    /// For each folder that was named.
    pub folders: Vec<(PathBuf, Vec<(String, String)>)>,
}

/// `watertight worker load`: a pack on standard input. Returns the exit code.
///
/// # Errors
/// It can't be confined, or nobody takes the answer.
pub fn load(report: RawFd) -> Result<u8> {
    // Mapped, not read: that takes no byte of it in, and no memory.
    answer(report, Profile::Loader, &|input| {
        let pack = watertight_content_pack::Pack::open(input).map_err(|error| error.to_string())?;
        let manifest = pack.manifest();
        fault::meet(manifest.name);
        let of_rules = header_of(&pack.rules())?;
        pack.check_canaries(&rules::types_here).map_err(|error| error.to_string())?;
        let test = pack.self_test().map_err(|error| error.to_string())?;
        let header = Header {
            name: manifest.name.to_owned(),
            version: manifest.version,
            canaries: test.canaries,
            policy: pack.policy().cloned(),
            is_urgent: manifest.is_urgent,
            image_bytes: pack.image().len() as u64,
            digest: ContentId::counted(pack.image_sha256()).to_string(),
            ..of_rules
        };
        Ok((header, Cow::Borrowed(pack.image())))
    })
}

/// `watertight worker compile`: rules in text on standard input. Returns the exit code.
///
/// # Errors
/// It can't be confined, or nobody takes the answer.
pub fn compile(report: RawFd) -> Result<u8> {
    answer(report, Profile::Compiler, &|input| {
        let texts: Texts = serde_json::from_slice(input).map_err(|error| format!("the texts: {error}"))?;
        let found = texts.folders.into_iter().map(|(path, texts)| Found { path, texts, ..Found::default() });
        let Loaded { image, refused, replaced, .. } = rules::compiled(found).map_err(|error| format!("{error:#}"))?;
        let opened = Image::open(&image).map_err(|error| error.to_string())?;
        let (image_bytes, digest) = (image.len() as u64, ContentId::of(&image).to_string());
        let name = "local rules".into();
        let header = Header { name, refused, replaced, image_bytes, digest, ..header_of(&opened)? };
        Ok((header, Cow::Owned(image)))
    })
}

type Answer<'i> = std::result::Result<(Header, Cow<'i, [u8]>), String>;

fn answer(report: RawFd, profile: Profile, make: &dyn for<'i> Fn(&'i [u8]) -> Answer<'i>) -> Result<u8> {
    let mut reporter = Reporter::inherit(report).context("taking the report pipe")?;
    sandbox::die_with_parent().context("tying this worker to who started it")?;
    crate::say::prepare();
    keep_large_memory_apart();
    let input = Mapping::of(io::stdin().as_fd()).context("mapping the content")?;
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned().context("taking the answer's pipe")?);
    let sandbox = sandbox::enter(profile, reporter.as_fd()).context("giving up privileges")?;
    reporter.say(&Report::Ready { sandbox }).context("speaking to the supervisor")?;
    let (header, image) = match make(input.bytes()) {
        Ok(made) => made,
        Err(why) => {
            reporter.say(&Report::Refused { why }).context("speaking to the supervisor")?;
            return Ok(1);
        }
    };
    let header = serde_json::to_vec(&header).context("writing the header")?;
    out.write_all(&(header.len() as u64).to_le_bytes()).context("answering")?;
    out.write_all(&header).and_then(|()| out.write_all(&image)).context("answering")?;
    Ok(0)
}

/// Memory of correlations is large and mostly never touched: fresh from the kernel it is all zero and costs nothing. The C library would
/// keep what was given back once, and write zeroes over all of it for the next canary.
fn keep_large_memory_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the C library's; this process has one thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// What an image says of itself, if it is one for this host.
fn header_of(image: &Image<'_>) -> std::result::Result<Header, String> {
    rules::check(image).map_err(|error| format!("{error:#}"))?;
    Ok(Header {
        rules: image.rules().map(|rule| rule.id().to_owned()).collect(),
        rule_count: image.rules().filter(|rule| !rule.is_stage()).count(),
        ..Header::default()
    })
}
