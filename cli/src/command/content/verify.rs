//! `watertight content verify`: the host's own look at a pack: opens it, runs its canaries, and says what it is. Then the host's own
//! loader takes it, in its sandbox and within its bounds, so that what is accepted here is what a host accepts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use serde::Serialize;
use watertight_content_pack::layout::PACK_SIZE_BYTES_MAX;
use watertight_content_pack::Pack;
use watertight_host::loading::{load_pack, LoadError};
use watertight_host::printable::printable;
use watertight_host::slots::ContentId;

use super::{answer, read_file, Form, OK};

/// Open a pack as a host does, run its canaries, and say what it is.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The pack.
    pack: PathBuf,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// What a pack is, and what its canaries have shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) version: u64,
    /// SHA-256 of the file.
    pub(super) id: String,
    size_bytes: usize,
    image_bytes: usize,
    engine_min: u32,
    engine_max: u32,
    is_urgent: bool,
    rules: usize,
    documents: u32,
    fields: usize,
    deny_rules: usize,
    /// Rules by the action that they want carried out.
    enforced_actions: BTreeMap<&'static str, usize>,
    canaries: u64,
    must_fire: u64,
    must_not_fire: u64,
    /// Documents that no canary must fire.
    unproven: Vec<String>,
}

impl Facts {
    /// What the pack is, after its canaries came out as they must.
    pub(super) fn of(pack: &Pack<'_>) -> anyhow::Result<Self> {
        let test = pack.self_test()?;
        let manifest = pack.manifest();
        Ok(Self {
            name: manifest.name.to_owned(),
            version: manifest.version,
            id: hex(&pack.id()),
            size_bytes: pack.size_bytes(),
            image_bytes: pack.image().len(),
            engine_min: manifest.engines.min,
            engine_max: manifest.engines.max,
            is_urgent: manifest.is_urgent,
            rules: pack.rules().rules().filter(|rule| !rule.is_stage()).count(),
            documents: manifest.document_count,
            fields: pack.rules().fields().len(),
            deny_rules: pack.policy().map_or(0, |policy| policy.rules.len()),
            enforced_actions: enforced(pack),
            canaries: test.canaries,
            must_fire: test.fired,
            must_not_fire: test.silent,
            unproven: pack.unproven().iter().map(|document| document.id.to_owned()).collect(),
        })
    }

    pub(super) fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing to memory can't fail.
        let _ = writeln!(text, "{} {}, id {}", printable(&self.name), self.version, self.id);
        let urgent = if self.is_urgent { "; urgent: new deny rules are enforced at once" } else { "" };
        let _ = writeln!(
            text,
            "  {} rules on {} fields, {} deny rules, {} bytes, for engines {} to {}{urgent}",
            self.rules, self.fields, self.deny_rules, self.size_bytes, self.engine_min, self.engine_max
        );
        let _ = writeln!(
            text,
            "  {} canaries: {} fired what they must, {} fired nothing that they must not",
            self.canaries, self.must_fire, self.must_not_fire
        );
        for (action, count) in &self.enforced_actions {
            let allowed = format!("`run --enforce-actions {action}`");
            let _ =
                writeln!(text, "  rules that want {action} carried out, where a run allows it ({allowed}): {count}");
        }
        if !self.unproven.is_empty() {
            let _ = writeln!(text, "  no event must fire: {}", self.unproven.join(", "));
        }
        text
    }
}

fn enforced(pack: &Pack<'_>) -> BTreeMap<&'static str, usize> {
    let mut actions = BTreeMap::new();
    for rule in pack.rules().rules().filter(|rule| rule.response().is_enforced) {
        let count: &mut usize = actions.entry(rule.response().action.name()).or_default();
        *count = count.saturating_add(1);
    }
    actions
}

#[derive(Debug, Serialize)]
struct Answer {
    kind: &'static str,
    file: PathBuf,
    #[serde(flatten)]
    pack: Facts,
}

/// Verifies the pack. Exit code 0, or 1 with the reason.
pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<u8> {
    let bytes = read_pack(&args.pack)?;
    let facts = || Facts::of(&Pack::open(&bytes)?);
    let facts = facts().with_context(|| args.pack.display().to_string())?;
    must_load(&bytes).with_context(|| args.pack.display().to_string())?;
    let text = facts.in_words();
    answer(args.output, &Answer { kind: "content_verify", file: args.pack.clone(), pack: facts }, &text)?;
    Ok(OK)
}

/// Has the host's own loader take the pack, within its bounds of memory and processor time. Where no such process can be started, that
/// is said, and the pack's own look at itself has to do.
///
/// # Errors
/// It refuses the pack, or does not survive it.
pub(super) fn must_load(pack: &[u8]) -> anyhow::Result<()> {
    match load_pack(pack, ContentId::of(pack)) {
        Ok(_) => Ok(()),
        Err(LoadError::Refused(why)) => bail!("the loader of a host refuses it: {why}"),
        Err(LoadError::Fatal(why)) => bail!("the loader of a host does not survive it: {why}: make the pack smaller"),
        Err(LoadError::Host(why)) => {
            watertight_host::say!("watertight: not tried in the loader of a host: {}", printable(&why));
            Ok(())
        }
    }
}

/// A pack's bytes, if they are not more than any pack has.
pub(super) fn read_pack(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_file(path, PACK_SIZE_BYTES_MAX)
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
