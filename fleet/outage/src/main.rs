//! `watertight-outage`: plays what July 2024 was to a real fleet on this machine, and stores what was seen as a picture.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use watertight_outage::{picture, play, Scene, Setting, Timeline};

/// A real fleet on one machine is given content that kills the engine, and whatever else goes wrong.
#[derive(Debug, Parser)]
struct Args {
    /// A `watertight` with debug assertions, with `watertight-server` beside it.
    #[arg(long, value_name = "FILE")]
    watertight: PathBuf,
    /// What the hosts take their events from: a recording with a shell in its first lines.
    #[arg(long, value_name = "FILE")]
    recording: PathBuf,
    /// How many hosts.
    #[arg(long, default_value_t = 40)]
    hosts: usize,
    /// What is done to them; all of it when none is named.
    #[arg(long = "scene", value_name = "SCENE", value_enum)]
    scenes: Vec<Scene>,
    /// Folder of the fleet, left as it is at the end; one that is removed when none is named.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The timeline as a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same as PNG.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let own = tempfile::tempdir().context("a folder for the fleet")?;
    let folder = args.folder.unwrap_or_else(|| own.path().to_owned());
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let absolute = |file: PathBuf| std::path::absolute(&file).with_context(|| file.display().to_string());
    let setting = Setting {
        watertight: absolute(args.watertight)?,
        recording: absolute(args.recording)?,
        folder: absolute(folder)?,
        hosts: args.hosts,
        scenes: if args.scenes.is_empty() { Scene::ALL.to_vec() } else { args.scenes },
    };
    let timeline = Timeline::new(|words| println!("{words}"));
    let played = play(&setting, &timeline);
    picture(&timeline).write(args.svg.as_deref(), args.png.as_deref())?; // also of what went wrong
    for file in args.svg.iter().chain(&args.png) {
        println!("what was seen is drawn in {}", file.display());
    }
    played
}
