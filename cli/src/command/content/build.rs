//! `watertight content build`: a folder with rules, their tests and perhaps a policy to a pack, or every reason why not.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use serde::Serialize;
use watertight_content::pack::{
    build, parse_release, read_folder, BuildError, Folder, Policy, Release, Sources, MANIFEST,
};
use watertight_content::sigma::Source;
use watertight_content_pack::Pack;
use watertight_host::printable::{printable, printable_lines};

use super::verify::{must_load, Facts};
use super::{answer, write, Form, OK};

/// Compile rules, their tests and deny rules into a pack.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Folder with `pack.yml` (name, version), rules (`*.yml`), their tests (`*.tests.yml` beside them) and perhaps `policy.yml`.
    #[arg(value_name = "FOLDER")]
    source: PathBuf,
    /// The pack. Written whole or not at all.
    #[arg(short, long = "out", value_name = "PACK")]
    out: PathBuf,
    /// Form of the answer.
    #[arg(long, value_enum, default_value = "text")]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Answer {
    kind: &'static str,
    file: PathBuf,
    #[serde(flatten)]
    pack: Facts,
    warnings: Vec<String>,
}

/// Builds the pack; nothing is written where anything is refused.
pub(super) fn run(args: &BuildArgs) -> anyhow::Result<u8> {
    if let Some(form @ ("json" | "text")) = args.out.to_str() {
        bail!("-o names the pack's file here: write `--form {form}` for the answer's form, and `-o ./{form}` for a file of that name");
    }
    let folder = read_folder(&args.source).with_context(|| format!("reading {}", args.source.display()))?;
    let policy = folder.policy.as_deref().map(read_policy).transpose()?;
    let release = parse_release(Source { file: MANIFEST, text: &folder.manifest });
    let release = release.map_err(|wrong| refused(wrong.into(), &args.source))?;
    let built = match build(&sources(&folder, &release, policy.as_ref())) {
        Ok(built) => built,
        Err(error) => return Err(refused(error, &args.source)),
    };
    let pack = Pack::open(&built.bytes)?;
    let facts = Facts::of(&pack)?;
    must_load(&built.bytes).with_context(|| format!("building {}", args.source.display()))?;
    write(&args.out, &built.bytes)?;
    for warning in &built.warnings {
        watertight_host::say!("watertight: {}", printable(warning));
    }
    let text = format!("{}: {}", printable(&args.out.display().to_string()), facts.in_words());
    let json = Answer { kind: "content_build", file: args.out.clone(), pack: facts, warnings: built.warnings };
    answer(args.form, &json, &text)?;
    Ok(OK)
}

/// The policy, or every problem that it has, on lines of their own.
fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    watertight_policy::yaml::load_for_fleet(path).map_err(|error| match error {
        watertight_policy::yaml::LoadError::Refused(refusal) => {
            watertight_host::say!("{}", printable_lines(&refusal.to_string()));
            anyhow::anyhow!("the policy was refused: no pack was written, mend {}", path.display())
        }
        other => other.into(),
    })
}

fn sources<'s>(folder: &'s Folder, release: &'s Release, policy: Option<&'s Policy>) -> Sources<'s> {
    fn lend(files: &[(String, String)]) -> Vec<Source<'_>> {
        files.iter().map(|(file, text)| Source { file, text }).collect()
    }
    Sources { release, rules: lend(&folder.rules), tests: lend(&folder.tests), policy }
}

/// Every rule that was refused is told, not the first alone; what a file says wrongly, at its place.
fn refused(error: BuildError, source: &Path) -> anyhow::Error {
    match error {
        BuildError::Rejected(rejections) => {
            crate::command::refused::tell(&rejections);
            anyhow::anyhow!("{} rules were refused: no pack was written, mend them or take them out", rejections.len())
        }
        BuildError::File(wrong) => {
            crate::command::refused::tell_file(&wrong);
            anyhow::anyhow!("no pack was written: mend {}:{}", source.join(&wrong.file).display(), wrong.span.line)
        }
        other => anyhow::Error::new(other).context(format!("building {}", source.display())),
    }
}
