//! Content: keys, packs that offline keys sign, the repository that the server serves, and what a thief of a key makes of it.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

use crate::place::{output, Place};

/// The ring of all hosts.
pub(crate) const RING: &str = "early";
/// Id of the one rule in each pack.
pub(crate) const RULE: &str = "5e0e2a58-2f6c-4c57-9d3e-0a4f3c1b7d11";
/// From here on all hosts may have a release.
pub(crate) const AT_ONCE: &str = "2026-01-01T00:00:00Z";
/// No host may have it within the time of the trial.
pub(crate) const MUCH_LATER: &str = "2099-01-01T00:00:00Z";

/// How often a plan is drafted whose number somebody else takes meanwhile.
const TRIES_MAX: u32 = 10;

/// A pack that offline keys have signed.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) version: u64,
    /// SHA-256 of the pack.
    pub(crate) id: String,
}

/// Makes keys, and roles that trust them.
pub(crate) fn keys(place: &Place) -> Result<()> {
    place.write("passphrase", "correct horse battery staple\n")?;
    for key in ["root", "release", "director", "online"] {
        place.run(&format!("content keys new --out {key}.key --passphrase-file passphrase"))?;
    }
    place.run(
        "content draft roles --out roles --key root=root.key.pub --key targets=root.key.pub --key content=release.key.pub \
         --key director=director.key.pub --key snapshot=online.key.pub --key timestamp=online.key.pub",
    )?;
    for role in ["root", "targets"] {
        place.run(&format!("content sign roles/{role}.json --key root.key --passphrase-file passphrase"))?;
    }
    Ok(())
}

/// Builds, signs and publishes a pack of one rule with this title; hosts may have it from a time on.
pub(crate) fn publish(place: &Place, version: u64, title: &str, from: &str) -> Result<Release> {
    let pack = build(place, "release", version, title)?;
    let is_first = !place.path("fleet/content/metadata").exists();
    let after = if is_first { "" } else { "--after fleet/content" };
    place.run(&format!("content draft release {pack} --ring {RING}={from},0h:1000000 --out content.json {after}"))?;
    place.run("content sign content.json --key release.key --passphrase-file passphrase")?;
    let roots = if is_first { "--root roles/root.json --targets roles/targets.json" } else { "" };
    place.run(&format!("content publish --to fleet/content {roots} --content content.json --file {pack} {ONLINE}"))?;
    Ok(Release { version, id: id(place, &pack)? })
}

const ONLINE: &str = "--snapshot-key online.key --timestamp-key online.key --passphrase-file passphrase";

/// A pack that nobody has signed.
pub(crate) fn unsigned(place: &Place, version: u64) -> Result<Release> {
    let pack = build(place, "unsigned", version, "Nobody signed this")?;
    Ok(Release { version, id: id(place, &pack)? })
}

fn id(place: &Place, pack: &str) -> Result<String> {
    let told: Json = serde_json::from_str(&place.run(&format!("content verify {pack} -o json"))?)?;
    told.get("id").and_then(Json::as_str).map(str::to_owned).context("a pack without an id")
}

fn build(place: &Place, folder: &str, version: u64, title: &str) -> Result<String> {
    place.write(&format!("{folder}/pack.yml"), &format!("name: linux\nversion: {version}\n"))?;
    place.write(
        &format!("{folder}/shell.yml"),
        &format!(
            "title: {title}\nid: {RULE}\nlevel: low\nlogsource: {{ category: process_creation, product: linux }}\n\
             detection:\n  shell:\n    Image|endswith: /dash\n  condition: shell\n"
        ),
    )?;
    place.write(
        &format!("{folder}/shell.tests.yml"),
        "fires:\n  - category: process_creation\n    event: { Image: /usr/bin/dash, CommandLine: sh -c true }\n\
         silent:\n  - why: no shell\n    category: process_creation\n    event: { Image: /usr/bin/less, CommandLine: less notes }\n",
    )?;
    let pack = format!("{folder}-{version}.pack");
    place.run(&format!("content build {folder} -o {pack}"))?;
    Ok(pack)
}

/// Publishes this as the director's word, as whoever has the director's and the online key can. Where it is to name content that nobody
/// signed, which our own command refuses to draft, `unsigned` takes the place of what it names. The server publishes documents of its own
/// meanwhile: a thief whose number was taken takes the next.
pub(crate) fn publish_plan(place: &Place, plan: &Json, named: &Release, unsigned: Option<&Release>) -> Result<()> {
    let is_taken = |error: &anyhow::Error| error.to_string().contains("is not higher than");
    let mut tries = 1..TRIES_MAX;
    loop {
        match try_plan(place, plan, named, unsigned) {
            Err(error) if is_taken(&error) && tries.next().is_some() => {}
            done => return done,
        }
    }
}

fn try_plan(place: &Place, plan: &Json, named: &Release, unsigned: Option<&Release>) -> Result<()> {
    place.write("plan.json", &plan.to_string())?;
    place.run("content draft plan plan.json --out director.json --after fleet/content")?;
    if let Some(unsigned) = unsigned {
        let digest = |place: &Place| -> Result<String> {
            let told = output(Command::new("sha256sum").arg(place.path("plan.json")))?;
            Ok(told.split_whitespace().next().unwrap_or_default().to_owned())
        };
        let before = digest(place)?;
        place.write("plan.json", &plan.to_string().replace(&named.id, &unsigned.id))?;
        let drafted = std::fs::read_to_string(place.path("director.json"))?;
        place.write("director.json", &drafted.replace(&before, &digest(place)?))?;
    }
    place.run("content sign director.json --key director.key --passphrase-file passphrase")?;
    place
        .run(&format!("content publish --to fleet/content --director director.json --file plan.json {ONLINE}"))
        .map(drop)
}
