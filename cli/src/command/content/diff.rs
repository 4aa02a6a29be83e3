//! `watertight content diff`: what is different between two packs: rules, the fields that they ask for, deny rules; and over
//! recorded events, alerts and cost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use watertight_content_pack::{Document, Pack};
use watertight_host::printable::printable;

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
    added: Vec<Row>,
    removed: Vec<Row>,
    changed: Vec<Row>,
    fields_newly_used: Vec<String>,
    fields_no_longer_used: Vec<String>,
    deny_rules_added: Vec<String>,
    deny_rules_removed: Vec<String>,
    deny_rules_changed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Compared>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    version: u64,
    id: String,
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
    Answer {
        kind: "content_diff",
        old: named(old),
        new: named(new),
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
        replay: None,
    }
}

fn named(pack: &Pack<'_>) -> Named {
    Named { name: pack.manifest().name.to_owned(), version: pack.manifest().version, id: hex(&pack.id()) }
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
    ] {
        for line in lines {
            let _ = writeln!(text, "  {mark}: {}", printable(line));
        }
    }
    if text.lines().count() == 1 {
        let _ = writeln!(text, "  no rule, field or deny rule is different");
    }
    if let Some(Compared { old, new, changes }) = &diff.replay {
        text.push_str(&difference_in_words(old, new, changes));
    }
    text
}
