//! `watertight content explain`: why a rule fires on an event, or what of it stands in the way.
//!
//! From the compiled image itself, which answers as it does on a host: a second reading of the rule could say something else.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use serde_json::json;
use watertight_content::sigma::{load_dirs, same_id};
use watertight_content_pack::Pack;
use watertight_engine::{Explanation, FieldMatch, Image, Rule, FIELD_BYTES_MAX, TAIL_BYTES, VALUE_BYTES_MAX};
use watertight_host::printable::printable;

use super::explain_together::Together;
use super::{answer, read, read_file, Form, NOT_FOUND, OK};
use crate::command::recorded::Recorded;
use crate::command::refused;

/// Longest event.
const EVENT_SIZE_BYTES_MAX: u64 = 16 << 20;

/// Largest pack.
const PACK_SIZE_BYTES_MAX: u64 = 256 << 20;

/// Say why a rule fires on an event, or why not.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The rule's id, its title, or the file it is in.
    rule: String,
    /// File with one event in a form that `detect` reads, `-` for standard input; for a correlation or sequence its events, one a
    /// line in their order.
    event: PathBuf,
    /// Folder (or file) with rules; may be given several times.
    #[arg(long, required_unless_present = "pack", conflicts_with = "pack")]
    rules: Vec<PathBuf>,
    /// Pack with rules.
    #[arg(long)]
    pack: Option<PathBuf>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Exit code 0 whether it fires or not, 4 where there is no such rule.
///
/// # Errors
/// The rules or the event can't be read, or several rules have that title.
pub fn run(args: &ExplainArgs) -> anyhow::Result<u8> {
    let bytes = match &args.pack {
        Some(pack) => {
            let bytes = read_file(pack, PACK_SIZE_BYTES_MAX).context("reading the pack")?;
            Pack::open(&bytes).with_context(|| pack.display().to_string())?.image().to_vec()
        }
        None => compiled(&args.rules)?,
    };
    let image = Image::open(&bytes).context("opening the rules")?;
    let positions = found(&image, &args.rule);
    let position = match positions.as_slice() {
        [only] => *only,
        [] => {
            watertight_host::say!("watertight: there is no rule {}: name its id, title or file", printable(&args.rule));
            return Ok(NOT_FOUND);
        }
        several => {
            let ids: Vec<String> = several.iter().filter_map(|at| Some(printable(image.rule(*at)?.id()))).collect();
            bail!("{} rules are called {}: name the id of one: {}", ids.len(), args.rule, ids.join(", "));
        }
    };
    let rule = image.rule(position).context("a rule that is not there")?;
    if image.is_correlation(position) {
        let together = Together::of(&image, position, &events(&args.event)?)?;
        answer(args.output, &together.as_json(), &together.in_words())?;
        return Ok(OK);
    }
    let line = event(&args.event)?;
    let explanation = Recorded::new(image).explain(position, &line).context("reading the event")?;
    answer(args.output, &as_json(rule, explanation.as_ref()), &in_words(rule, explanation.as_ref()))?;
    Ok(OK)
}

fn compiled(folders: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut library = load_dirs(folders);
    let image = library.image().context("compiling the rules")?;
    refused::tell(&library.rejections);
    match library.unreadable.pop() {
        Some(error) => Err(error).context("reading rules"),
        None => Ok(image),
    }
}

/// The rules that are called so: by id, else by title, else by file.
fn found(image: &Image<'_>, name: &str) -> Vec<u32> {
    let by = |is: &dyn Fn(Rule<'_>) -> bool| -> Vec<u32> {
        (0_u32..).zip(image.rules()).filter(|(_, rule)| is(*rule)).map(|(position, _)| position).collect()
    };
    let is_file = |file: &str| file == name || Path::new(file).file_name().is_some_and(|last| last == name);
    let by_id = by(&|rule| same_id(rule.id()) == same_id(name));
    let or_title = if by_id.is_empty() { by(&|rule| rule.title() == name) } else { by_id };
    if or_title.is_empty() {
        by(&|rule| is_file(rule.place().0))
    } else {
        or_title
    }
}

fn events(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let limited = &mut std::io::stdin().lock().take(EVENT_SIZE_BYTES_MAX.saturating_add(1));
        limited.read_to_end(&mut bytes).context("reading standard input")?;
        bytes
    } else {
        read(path, EVENT_SIZE_BYTES_MAX).context("reading the event")?
    };
    if bytes.len() as u64 > EVENT_SIZE_BYTES_MAX {
        bail!("{name} has more than {EVENT_SIZE_BYTES_MAX} bytes: give the events that matter alone");
    }
    Ok(bytes)
}

fn event(path: &Path) -> anyhow::Result<Vec<u8>> {
    let (name, bytes) = (path.display(), events(path)?);
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    match (lines.next(), lines.next()) {
        (Some(only), None) => Ok(only.to_vec()),
        (None, _) => bail!("{name} has no event: write one in one line"),
        (Some(first), Some(_)) if serde_json::from_slice::<serde_json::Value>(first).is_ok() => {
            bail!("{name} has several lines: give the one event that is to be explained")
        }
        // One event over several lines, as people write it.
        (Some(_), Some(_)) => Ok(bytes),
    }
}

fn as_json(rule: Rule<'_>, explanation: Option<&Explanation>) -> serde_json::Value {
    let (file, line) = rule.place();
    let mut told = json!({
        "rule": rule.id(), "title": rule.title(), "file": file, "line": line,
        "applies": explanation.is_some(), "fires": explanation.is_some_and(|why| why.is_hit),
    });
    if let (Some(why), Some(told)) = (explanation.map(explanation_json), told.as_object_mut()) {
        told.extend(why);
    }
    told
}

/// What made a rule fire, or stood in its way.
pub(super) fn explanation_json(why: &Explanation) -> serde_json::Map<String, serde_json::Value> {
    let matches = |matches: &[FieldMatch]| -> Vec<serde_json::Value> {
        let one = |found: &FieldMatch| json!({"field": found.field, "value": found.value, "pattern": found.pattern, "read_in_part": found.is_cut});
        matches.iter().map(one).collect()
    };
    let selections = why.selections.iter();
    let selections = selections.map(|part| json!({"selection": part.name, "matches": matches(&part.matches)}));
    let missing = why.missing.iter();
    let missing =
        missing.map(|part| json!({"selection": part.name, "is_true": part.is_true, "matches": matches(&part.matches)}));
    let parts =
        [("selections", selections.collect()), ("excluded", json!(why.excluded)), ("in_the_way", missing.collect())];
    parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect()
}

fn in_words(rule: Rule<'_>, explanation: Option<&Explanation>) -> String {
    let (file, line) = rule.place();
    let (title, id, file) = (printable(rule.title()), printable(rule.id()), printable(file));
    let verdict = match explanation {
        None => "does not apply: it is for another log source than the event's",
        Some(why) if why.is_hit => "fires",
        Some(_) => "does not fire",
    };
    let mut words = vec![format!("{title} ({id}, {file}:{line}) {verdict}")];
    words.extend(explanation.map(explanation_in_words).into_iter().flatten());
    words.push(String::new());
    words.join("\n")
}

/// What made a rule fire, or stood in its way: lines for people.
pub(super) fn explanation_in_words(why: &Explanation) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |line: String| words.push(line);
    for part in &why.selections {
        say(format!("  {} is true:", printable(&part.name)));
        part.matches.iter().for_each(|found| say(format!("    {}", match_in_words(found, true))));
    }
    for name in &why.excluded {
        say(format!("  {} is not true, as it must be", printable(name)));
    }
    for part in &why.missing {
        let wanted = if part.is_true { "is true, and leaves the event out" } else { "is not true, and had to be" };
        say(format!("  {} {wanted}:", printable(&part.name)));
        part.matches.iter().for_each(|found| say(format!("    {}", match_in_words(found, part.is_true))));
    }
    if !why.is_hit && why.missing.is_empty() {
        say("  its condition can't be true of any such event".to_owned());
    }
    words
}

fn match_in_words(found: &FieldMatch, is_true: bool) -> String {
    let pattern = printable(&found.pattern);
    let fits = if is_true { "fits" } else { "does not fit" };
    // What was not looked at may be otherwise: the engine says so too, and counts it.
    let in_part = match found.is_cut {
        true => format!(
            " (read in part: of a value {VALUE_BYTES_MAX} bytes at its beginning and {TAIL_BYTES} at its end, of a field \
             {FIELD_BYTES_MAX} bytes)"
        ),
        false => String::new(),
    };
    match (&found.value, found.field.as_str()) {
        (_, "") => format!("no field has {pattern}{in_part}"),
        (Some(value), field) => format!("{} = {}   {fits} {pattern}{in_part}", printable(field), printable(value)),
        (None, field) => format!("{} is not there   {fits} {pattern}{in_part}", printable(field)),
    }
}
