//! Bytes to a pack that can be used: limits, then digests, then every reference.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use watertight_engine::{Image, OLDEST_VERSION as OLDEST_ENGINE, VERSION as ENGINE};
use watertight_policy::Policy;
use zerocopy::FromBytes;

use crate::canary::{Canaries, Canary};
use crate::error::{Named, PackError};
use crate::layout::{Header, Section, SectionRecord, DOCUMENTS_MAX, MAGIC, PACK_SIZE_BYTES_MAX, VERSION};
use crate::manifest::{Document, Listed, Manifest};
use crate::policy;

/// A pack, checked.
#[derive(Clone, Debug)]
pub struct Pack<'p> {
    bytes: &'p [u8],
    image_bytes: &'p [u8],
    image_sha256: [u8; 32],
    image: Image<'p>,
    pub(crate) listed: Listed<'p>,
    pub(crate) canaries: Canaries<'p>,
    policy: Option<Policy>,
}

impl<'p> Pack<'p> {
    /// The pack in these bytes, after everything in it was checked but what its canaries say: see [`Pack::self_test`].
    ///
    /// # Errors
    /// They are no pack, exceed a limit, are damaged, are for other engines, or refer to what is not there.
    pub fn open(bytes: &'p [u8]) -> Result<Self, PackError> {
        let [(manifest, _), (image_bytes, image_sha256), (canaries, _), (policy, _)] = sections(bytes)?;
        let listed = Listed::read(manifest)?;
        let engines = listed.manifest.engines;
        if !engines.serve(OLDEST_ENGINE, ENGINE) {
            return Err(PackError::Engine { min: engines.min, max: engines.max, engine: ENGINE });
        }
        let image = Image::open(image_bytes)?;
        if engines.min < image.layout() {
            return Err(PackError::TooOldEngine { min: engines.min, needed: image.layout() });
        }
        check_rules(&image, &listed)?;
        Ok(Self {
            bytes,
            image_bytes,
            image_sha256,
            image,
            canaries: Canaries::read(canaries, listed.manifest.document_count)?,
            listed,
            policy: policy::read(policy)?,
        })
    }

    /// The pack's identity: SHA-256 of the whole file. Counted anew each time: who loads a pack has been told.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        Sha256::digest(self.bytes).into()
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What the release is.
    #[must_use]
    pub fn manifest(&self) -> Manifest<'p> {
        self.listed.manifest
    }

    /// What it was built from, in the order of the ids.
    pub fn documents(&self) -> impl ExactSizeIterator<Item = Document<'p>> + '_ {
        self.listed.documents()
    }

    /// The compiled rules: what `watertight_engine::Image::open` takes, and has taken here.
    #[must_use]
    pub fn image(&self) -> &'p [u8] {
        self.image_bytes
    }

    /// SHA-256 of these bytes, which was found right when the pack was opened.
    #[must_use]
    pub fn image_sha256(&self) -> [u8; 32] {
        self.image_sha256
    }

    /// The same, opened.
    #[must_use]
    pub fn rules(&self) -> Image<'p> {
        self.image
    }

    /// The deny rules, if it has a policy. They have passed the check that every policy passes.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// How many canaries it carries.
    #[must_use]
    pub fn canary_count(&self) -> usize {
        self.canaries.iter().len()
    }

    /// Its canaries, as whoever built the pack wrote them.
    pub fn canaries(&self) -> impl Iterator<Item = Canary> + '_ {
        self.canaries.iter().map(|canary| canary.written(|position| self.id_of(position)))
    }

    pub(crate) fn id_of(&self, position: u32) -> String {
        self.listed.document(position).map(|document| document.id.to_owned()).unwrap_or_default()
    }

    /// The documents that no canary must fire: nothing proves that they work. Exceptions never fire and are not among them.
    #[must_use]
    pub fn unproven(&self) -> Vec<Document<'p>> {
        let proven: BTreeSet<u32> = self.canaries.iter().flat_map(|canary| canary.fires()).collect();
        let documents = (0_u32..).zip(self.documents());
        let fires = |document: &Document<'_>| document.kind != crate::Kind::Filter;
        documents
            .filter(|(at, document)| fires(document) && !proven.contains(at))
            .map(|(_, document)| document)
            .collect()
    }
}

/// Bytes, and their SHA-256.
type Digested<'p> = (&'p [u8], [u8; 32]);

/// The bytes of each section with their digest, which is right.
fn sections(bytes: &[u8]) -> Result<[Digested<'_>; Section::ALL.len()], PackError> {
    let found = bytes.len() as u64;
    if found > PACK_SIZE_BYTES_MAX {
        return Err(PackError::TooLarge { found });
    }
    let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| PackError::NotAPack)?;
    if header.magic != MAGIC {
        return Err(PackError::NotAPack);
    }
    if header.version.get() != VERSION {
        return Err(PackError::Version { found: header.version.get() });
    }
    if header.size_bytes.get() != found {
        return Err(PackError::Size { stated: header.size_bytes.get(), found });
    }
    let directory = || PackError::Section { section: "directory", what: "is not whole" };
    if usize::try_from(header.sections.get()).ok() != Some(Section::ALL.len()) {
        return Err(directory());
    }
    let (records, mut rest) =
        <[SectionRecord]>::ref_from_prefix_with_elems(rest, Section::ALL.len()).map_err(|_| directory())?;
    let mut parts = [(bytes, [0; 32]); Section::ALL.len()];
    for ((section, record), (part, sha256)) in Section::ALL.into_iter().zip(records).zip(&mut parts) {
        let offset = found.saturating_sub(rest.len() as u64);
        (*part, rest) = take(section, record, offset, rest)?;
        *sha256 = record.sha256;
    }
    if !rest.is_empty() {
        return Err(PackError::Section { section: "directory", what: "leaves bytes over behind the last section" });
    }
    for (section, (part, sha256)) in Section::ALL.into_iter().zip(parts) {
        if <[u8; 32]>::from(Sha256::digest(part)) != sha256 {
            return Err(PackError::Digest { section: section.name() });
        }
    }
    Ok(parts)
}

/// The next section, and what is behind it.
fn take<'p>(
    section: Section,
    record: &SectionRecord,
    offset: u64,
    rest: &'p [u8],
) -> Result<(&'p [u8], &'p [u8]), PackError> {
    let wrong = |what| PackError::Section { section: section.name(), what };
    if record.kind.get() != section as u32 || record.reserved.get() != 0 {
        return Err(wrong("is not where it must be"));
    }
    if record.offset.get() != offset {
        return Err(wrong("does not begin where the one before it ends"));
    }
    let size = record.size_bytes.get();
    if size > section.size_bytes_max() {
        let what = match section {
            Section::Manifest => "bytes of manifest",
            Section::Image => "bytes of compiled rules",
            Section::Canaries => "bytes of canaries",
            Section::Policy => "bytes of policy",
        };
        return Err(PackError::TooMany { what, found: size, limit: section.size_bytes_max() });
    }
    let size = usize::try_from(size).map_err(|_| wrong("has more bytes than this machine counts"))?;
    rest.split_at_checked(size).ok_or_else(|| wrong("ends behind the file's end"))
}

/// Every rule has an id of its own that the manifest knows; and the other way round, as many rules as it tells of.
fn check_rules(image: &Image<'_>, listed: &Listed<'_>) -> Result<(), PackError> {
    if image.is_foreign() {
        return Err(PackError::Foreign);
    }
    let (stated, found) = (u64::from(listed.manifest.rule_count), image.rules().len() as u64);
    if stated != found {
        return Err(PackError::RuleCount { stated, found });
    }
    if found > u64::from(DOCUMENTS_MAX) {
        return Err(PackError::TooMany { what: "rules", found, limit: DOCUMENTS_MAX.into() });
    }
    let mut seen = BTreeSet::new();
    for rule in image.rules() {
        // The stages of a sequence are of its document.
        if let Some((owner, _)) = rule.id().split_once('#').filter(|_| rule.is_stage()) {
            listed.position(owner).ok_or_else(|| PackError::Unlisted { id: Named::of(rule.id()) })?;
            continue;
        }
        let position = listed.position(rule.id()).ok_or_else(|| PackError::Unlisted { id: Named::of(rule.id()) })?;
        if !seen.insert(position) {
            return Err(PackError::DuplicateId { id: Named::of(rule.id()) });
        }
    }
    Ok(())
}
