//! `watertight detect`: rules over recorded events, without a sensor and without privileges.
//!
//! The events' order is kept and hits are written as they are found, so that a pipe can be read while it runs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use watertight_content::sigma::detect::Hit;
use watertight_content::sigma::exception::Usage;
use watertight_content::sigma::{load_dirs, Library};
use watertight_engine::{FieldMatch, Image};
use watertight_host::printable::printable;
use watertight_host::say::not_written;

use super::recorded::Recorded;

/// Exit code when everything was evaluated.
const OK: u8 = 0;

/// Exit code when some rule was rejected and the others were evaluated.
const PARTIAL: u8 = 3;

/// Longest line read as one event: 16 MiB. A longer one is no event, and reading it whole could take all memory.
pub(crate) const LINE_BYTES_MAX: u64 = 16 << 20;

/// Evaluate rules over recorded events, one JSON object a line: `{"logsource":{...},"event":{...}}`, or what `watertight run
/// -o json` writes, natively or `--as sigma`.
#[derive(Debug, clap::Args)]
pub struct DetectArgs {
    /// Folder (or file) with rules; may be given several times.
    #[arg(long, required = true)]
    pub rules: Vec<PathBuf>,
    /// File with events, `-` for standard input.
    #[arg(long)]
    pub input: PathBuf,
    /// Form of the hits.
    #[arg(short, long, value_enum, default_value = "jsonl")]
    pub output: Form,
    /// Add to every hit which selections, fields and values made it one.
    #[arg(long)]
    pub explain: bool,
}

/// Forms of output; a stream of JSON is JSON Lines under either name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One JSON object a line.
    Jsonl,
    /// The same.
    Json,
}

/// Prints one hit a line. Exit code 0, or 3 if a rule was rejected.
///
/// # Errors
/// When rules or events can't be read, a line is JSON and no event, or no line is JSON.
pub fn run(args: &DetectArgs) -> anyhow::Result<u8> {
    let mut library = read_rules(&args.rules)?;
    let named = library.rejections.len();
    let image = library.image().context("compiling the rules")?;
    super::refused::tell(library.rejections.get(named..).unwrap_or_default());
    let image = Image::open(&image).context("opening the rules")?;
    let mut usage = Usage::of(&library).context("compiling what exceptions leave out")?;
    let mut out = BufWriter::new(io::stdout().lock());
    let name = args.input.display().to_string();
    let written = if args.input.as_os_str() == "-" {
        detect(image, "standard input", &mut io::stdin().lock(), args.explain, usage.as_mut(), &mut out)
    } else {
        let file = File::open(&args.input).with_context(|| format!("opening events in {name}"))?;
        detect(image, &name, &mut BufReader::new(file), args.explain, usage.as_mut(), &mut out)
    };
    for finding in usage.iter().flat_map(Usage::findings) {
        watertight_host::say!("watertight: {}", printable(&finding));
    }
    written.and(out.flush().map_err(not_written("the hits")))?;
    Ok(if library.rejections.is_empty() { OK } else { PARTIAL })
}

/// The rules below all folders; what was rejected is named on standard error.
fn read_rules(folders: &[PathBuf]) -> anyhow::Result<Library> {
    let mut all = load_dirs(folders);
    super::refused::tell(&all.rejections);
    match all.unreadable.pop() {
        None => Ok(all),
        Some(error) => Err(error).context("reading rules"),
    }
}

/// Evaluates every line of `input`.
fn detect(
    image: Image<'_>,
    name: &str,
    input: &mut dyn BufRead,
    explains: bool,
    usage: Option<&mut Usage>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut recorded = Recorded::new(image);
    let counted = usage.as_deref().map(|usage| usage.image.clone());
    let counted = counted.as_deref().map(Image::open).transpose().context("opening what exceptions leave out")?;
    let mut counting = usage.zip(counted.map(Recorded::new));
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.with_context(|| format!("{name}:{number}: reading"))? == 0 {
            break;
        }
        if u64::try_from(line.len()).is_ok_and(|bytes| bytes >= LINE_BYTES_MAX) {
            anyhow::bail!("{name}:{number}: the line is longer than {LINE_BYTES_MAX} bytes: write one event a line");
        }
        for hit in recorded.line(number, &line, explains).with_context(|| format!("{name}:{number}"))? {
            writeln!(out, "{}", shown(&hit)).map_err(not_written("the hits"))?;
        }
        if let Some((usage, recorded)) = &mut counting {
            recorded.line(number, &line, false)?.iter().for_each(|hit| usage.count(&hit.rule));
        }
    }
    for hit in recorded.last_hits() {
        writeln!(out, "{}", shown(&hit)).map_err(not_written("the hits"))?;
    }
    out.flush().map_err(not_written("the hits"))?; // before the words, where both go to one terminal
    for words in recorded.end(name)?.into_iter().chain(recorded.limits_in_words()) {
        watertight_host::say!("watertight: {}", printable(&words));
    }
    Ok(())
}

/// A hit as a line; of a correlation with the events that led to it.
fn shown(hit: &Hit) -> serde_json::Value {
    let number = hit.event;
    if let Some(led) = &hit.led {
        let events: Vec<_> =
            led.events.iter().map(|event| json!({"stage": event.input, "event": event.event})).collect();
        let correlation = json!({"count": led.count, "by_clock": led.is_by_clock, "events": events});
        return json!({"event": number, "rule": hit.rule, "correlation": correlation});
    }
    let Some(why) = &hit.explanation else { return json!({"event": number, "rule": hit.rule}) };
    let selections: Vec<_> = why
        .selections
        .iter()
        .map(|selection| {
            let matches: Vec<_> = selection.matches.iter().map(match_json).collect();
            json!({"selection": selection.name, "matches": matches})
        })
        .collect();
    json!({"event": number, "rule": hit.rule, "why": {"selections": selections, "excluded": why.excluded}})
}

/// What made a selection true; said of a field that was not read whole.
fn match_json(found: &FieldMatch) -> serde_json::Value {
    let value = found.value.as_deref().unwrap_or_default();
    match found.is_cut {
        true => json!({"field": found.field, "value": value, "pattern": found.pattern, "read_in_part": true}),
        false => json!({"field": found.field, "value": value, "pattern": found.pattern}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watertight_content::sigma::{load_texts, Source};

    const RULE: &str = "
title: A shell
id: 7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f
logsource: {category: process_creation, product: linux}
detection:
  selection:
    Image|endswith: /sh
  condition: selection
";

    fn detected(input: &str) -> anyhow::Result<String> {
        let image = load_texts([Source { file: "shell.yml", text: RULE }]).image().expect("a rule");
        let mut out = Vec::new();
        detect(Image::open(&image)?, "events", &mut input.as_bytes(), false, None, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn a_hit_names_the_line_of_the_event_and_the_rule() {
        let shell = r#"{"logsource":{"category":"process_creation","product":"linux"},"event":{"Image":"/bin/sh"}}"#;
        let other = shell.replace("/bin/sh", "/bin/ls");
        let found = detected(&format!("{other}\n\n{shell}")).expect("events");
        assert_eq!(found, "{\"event\":3,\"rule\":\"7a1e9b1e-31b4-4f2f-8f0e-6a8f0c1d2e3f\"}\n");
    }

    #[test]
    fn a_line_that_is_no_event_is_refused_by_file_and_line() {
        let shell = r#"{"logsource":{},"event":{}}"#;
        for bad in ["[]", "{}", r#"{"logsource":{},"event":1}"#, r#"{"logsource":{"category":1},"event":{}}"#] {
            let refused = detected(&format!("{shell}\n{bad}\n")).expect_err(bad);
            assert!(format!("{refused:#}").starts_with("events:2"), "{refused:#}");
        }
    }
}
