//! Prints the reports of crash files as text: `report FILE...`. The command `watertight triage` does the same with options.

use std::path::Path;

use watertight_triage::{examine, Options};

fn main() {
    for path in std::env::args_os().skip(1) {
        examine(Path::new(&path), &Options::default(), &mut |report| println!("{report}"));
    }
}
