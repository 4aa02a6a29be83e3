//! `watertight content diff`: what is different between two packs: what the release says of itself, rules, the fields that they ask
//! for, deny rules, canaries; and over recorded events, alerts and cost.
//!
//! Who releases a pack looks here last, so nothing goes unsaid: where the files differ and nothing else does, that is told, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use watertight_content_pack::{Canary, Document, Pack};
use watertight_host::printable::printable;
use watertight_policy::Policy;

use super::replay::{changes, difference_in_words, replay, Change, Replayed};
use super::verify::{hex, read_pack};
use super::{answer, Form, OK};

/// Say what is different between two packs.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The pack before.
    old: PathBuf,
    /// The pack after.
    new: PathBuf,
    /// Recorded events: how alerts and cost differ on them is told, too.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Serialize)]
struct Answer {
    kind: &'static str,
    old: Named,
    new: Named,
    /// What releases differ in beside what is in them, the gravest first.
    notices: Vec<String>,
    added: Vec<Row>,
    removed: Vec<Row>,
    changed: Vec<Row>,
    fields_newly_used: Vec<String>,
    fields_no_longer_used: Vec<String>,
    deny_rules_added: Vec<String>,
    deny_rules_removed: Vec<String>,
    deny_rules_changed: Vec<String>,
    canaries_added: Vec<String>,
    canaries_removed: Vec<String>,
    canaries_changed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Compared>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    version: u64,
    id: String,
    is_urgent: bool,
    engine_min: u32,
    engine_max: u32,
}

/// A rule or another document.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    kind: &'static str,
    title: String,
}

/// Both packs over the same events.
#[derive(Debug, Serialize)]
struct Compared {
    old: Replayed,
    new: Replayed,
    changes: Vec<Change>,
}

/// Compares the packs. Exit code 0, whether they differ or not.
pub(super) fn run(args: &DiffArgs) -> anyhow::Result<u8> {
    let (old_bytes, new_bytes) = (read_pack(&args.old)?, read_pack(&args.new)?);
    let old = Pack::open(&old_bytes).with_context(|| args.old.display().to_string())?;
    let new = Pack::open(&new_bytes).with_context(|| args.new.display().to_string())?;
    let mut diff = compared(&old, &new);
    if let Some(events) = &args.events {
        let mut replayed = replay(&[old, new], events)?.into_iter();
        let pair = replayed.next().zip(replayed.next());
        diff.replay = pair.map(|(old, new)| Compared { changes: changes(&old, &new), old, new });
    }
    let text = in_words(&diff);
    answer(args.output, &diff, &text)?;
    Ok(OK)
}

fn compared(old: &Pack<'_>, new: &Pack<'_>) -> Answer {
    let (before, after) = (documents(old), documents(new));
    let (titles_before, titles_after) = (titles(old), titles(new));
    let row = |document: &Document<'_>, titles: &BTreeMap<String, String>| Row {
        id: document.id.to_owned(),
        kind: document.kind.name(),
        title: titles.get(&document.id.to_ascii_lowercase()).cloned().unwrap_or_default(),
    };
    let changed = after.iter().filter(|(id, document)| {
        before.get(*id).is_some_and(|old| (old.sha256, old.kind) != (document.sha256, document.kind))
    });
    let missing_in = |here: &BTreeMap<String, Document<'_>>,
                      titles: &BTreeMap<String, String>,
                      there: &BTreeMap<String, Document<'_>>|
     -> Vec<Row> {
        there.iter().filter(|(id, _)| !here.contains_key(*id)).map(|(_, document)| row(document, titles)).collect()
    };
    let (fields_before, fields_after) = (fields(old), fields(new));
    let (denies_before, denies_after) = (denies(old), denies(new));
    let keys_without = |from: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> Vec<String> {
        from.iter().filter(|(id, _)| !other.contains_key(*id)).map(|(id, what)| format!("{id}: {what}")).collect()
    };
    let (proofs_before, proofs_after) = (canaries(old), canaries(new));
    let names_without = |from: &Canaries, other: &Canaries| -> Vec<String> {
        from.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let is_changed = |name: &&String| proofs_before.get(*name).is_some_and(|old| proofs_after.get(*name) != Some(old));
    let mut diff = Answer {
        kind: "content_diff",
        old: named(old),
        new: named(new),
        notices: notices(old, new),
        added: missing_in(&before, &titles_after, &after),
        removed: missing_in(&after, &titles_before, &before),
        changed: changed.map(|(_, document)| row(document, &titles_after)).collect(),
        fields_newly_used: fields_after.difference(&fields_before).cloned().collect(),
        fields_no_longer_used: fields_before.difference(&fields_after).cloned().collect(),
        deny_rules_added: keys_without(&denies_after, &denies_before),
        deny_rules_removed: keys_without(&denies_before, &denies_after),
        deny_rules_changed: denies_after
            .iter()
            .filter_map(|(id, what)| {
                denies_before.get(id).filter(|old| *old != what).map(|old| format!("{id}: {old} -> {what}"))
            })
            .collect(),
        canaries_added: names_without(&proofs_after, &proofs_before),
        canaries_removed: names_without(&proofs_before, &proofs_after),
        canaries_changed: proofs_after.keys().filter(is_changed).cloned().collect(),
        replay: None,
    };
    if old.id() != new.id() && diff.is_silent() {
        let other =
            "other bytes, though rules, deny rules and canaries are the same: another compiler wrote one of the two";
        diff.notices.push(other.to_owned());
    }
    diff
}

impl Answer {
    /// Whether nothing is told yet but that the version is higher.
    fn is_silent(&self) -> bool {
        let documents = [&self.added, &self.removed, &self.changed];
        let names = [
            &self.notices,
            &self.fields_newly_used,
            &self.fields_no_longer_used,
            &self.deny_rules_added,
            &self.deny_rules_removed,
            &self.deny_rules_changed,
            &self.canaries_added,
            &self.canaries_removed,
            &self.canaries_changed,
        ];
        let is_other_release = (&self.old.name, self.old.version) != (&self.new.name, self.new.version);
        !is_other_release && documents.iter().all(|rows| rows.is_empty()) && names.iter().all(|lines| lines.is_empty())
    }
}

/// What the releases say of themselves and is not the same, the gravest first.
fn notices(old: &Pack<'_>, new: &Pack<'_>) -> Vec<String> {
    let (before, after) = (old.manifest(), new.manifest());
    let mut notices = Vec::new();
    match (before.is_urgent, after.is_urgent) {
        (false, true) => notices.push(
            "URGENT, which it was not: new deny rules and actions are in force at once, without a time in which they only \
             count"
                .to_owned(),
        ),
        (true, true) => notices.push(
            "URGENT, as before: new deny rules and actions are in force at once, without a time in which they only count"
                .to_owned(),
        ),
        (true, false) => notices.push("no longer urgent: new deny rules and actions only count at first".to_owned()),
        (false, false) => {}
    }
    if before.name != after.name {
        let (before, after) = (before.name, after.name);
        notices.push(format!("another name, {before} -> {after}: the one does not follow the other"));
    } else if after.version < before.version {
        notices.push(format!("the version goes back, {} -> {}", before.version, after.version));
    } else if after.version == before.version && old.id() != new.id() {
        let version = after.version;
        notices
            .push(format!("the same version {version} with other bytes: what differs must have a version of its own"));
    }
    let (from, to) = (before.engines, after.engines);
    if from != to {
        notices.push(format!("for other engines, {} to {} -> {} to {}", from.min, from.max, to.min, to.max));
    }
    let policies = (old.policy(), new.policy());
    if policies.0.is_some_and(|policy| policy.fallback_deny) != policies.1.is_some_and(|policy| policy.fallback_deny) {
        let is_now = policies.1.is_some_and(|policy| policy.fallback_deny);
        notices.push(format!("deny rules fall back to fanotify where there is no BPF LSM: {} -> {is_now}", !is_now));
    }
    if let (Some(before), Some(after)) = policies {
        let common = |policy: &'_ Policy, other: &Policy| -> Vec<String> {
            let ids = policy.rules.iter().map(|rule| rule.id.clone());
            ids.filter(|id| other.rules.iter().any(|rule| rule.id == *id)).collect()
        };
        if common(before, after) != common(after, before) {
            notices.push("deny rules in another order".to_owned());
        }
    }
    notices
}

/// Canaries by name.
type Canaries = BTreeMap<String, Vec<Canary>>;

fn canaries(pack: &Pack<'_>) -> Canaries {
    let mut canaries = Canaries::new();
    for canary in pack.canaries() {
        canaries.entry(canary.name.clone()).or_default().push(canary);
    }
    canaries
}

fn named(pack: &Pack<'_>) -> Named {
    let manifest = pack.manifest();
    Named {
        name: manifest.name.to_owned(),
        version: manifest.version,
        id: hex(&pack.id()),
        is_urgent: manifest.is_urgent,
        engine_min: manifest.engines.min,
        engine_max: manifest.engines.max,
    }
}

fn documents<'p>(pack: &Pack<'p>) -> BTreeMap<String, Document<'p>> {
    pack.documents().map(|document| (document.id.to_ascii_lowercase(), document)).collect()
}

fn titles(pack: &Pack<'_>) -> BTreeMap<String, String> {
    pack.rules().rules().map(|rule| (rule.id().to_ascii_lowercase(), rule.title().to_owned())).collect()
}

fn fields(pack: &Pack<'_>) -> BTreeSet<String> {
    pack.rules().fields().map(str::to_owned).collect()
}

/// Deny rules by id, in words.
fn denies(pack: &Pack<'_>) -> BTreeMap<String, String> {
    let rules = pack.policy().map(|policy| policy.rules.as_slice()).unwrap_or_default();
    let in_words = |rule: &watertight_policy::Rule| {
        let on: Vec<&str> = rule.on.iter().map(|operation| operation.name()).collect();
        format!("{} of {} ({})", on.join(", "), rule.target, rule.mode)
    };
    rules.iter().map(|rule| (rule.id.clone(), in_words(rule))).collect()
}

fn in_words(diff: &Answer) -> String {
    let mut text = String::new();
    // Writing to memory can't fail.
    let name = |named: &Named| format!("{} {}", printable(&named.name), named.version);
    let _ = writeln!(text, "{} -> {}", name(&diff.old), name(&diff.new));
    for notice in &diff.notices {
        let _ = writeln!(text, "  {}", printable(notice));
    }
    for (mark, rows) in [("added", &diff.added), ("removed", &diff.removed), ("changed", &diff.changed)] {
        for row in rows {
            let _ = writeln!(text, "  {mark} {} {} {}", row.kind, printable(&row.id), printable(&row.title));
        }
    }
    for (mark, lines) in [
        ("field newly used", &diff.fields_newly_used),
        ("field no longer used", &diff.fields_no_longer_used),
        ("deny rule added", &diff.deny_rules_added),
        ("deny rule removed", &diff.deny_rules_removed),
        ("deny rule changed", &diff.deny_rules_changed),
        ("canary added", &diff.canaries_added),
        ("canary removed", &diff.canaries_removed),
        ("canary changed", &diff.canaries_changed),
    ] {
        for line in lines {
            let _ = writeln!(text, "  {mark}: {}", printable(line));
        }
    }
    if text.lines().count() == 1 {
        let same = if diff.old.id == diff.new.id { "the same file" } else { "nothing but the version is different" };
        let _ = writeln!(text, "  {same}");
    }
    if let Some(Compared { old, new, changes }) = &diff.replay {
        text.push_str(&difference_in_words(old, new, changes));
    }
    text
}
