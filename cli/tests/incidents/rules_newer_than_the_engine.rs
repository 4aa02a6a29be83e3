//! Rules that need a newer engine than hosts have: released by name, followed by all, and the engine would not start.

use watertight_content_pack::layout::{ManifestRecord, Section};
use watertight_engine::image::layout::{Header, VERSION};
use zerocopy::FromBytes as _;

use super::place::{Desk, Host};
use super::raw::{good_pack, rule, with};

/// The first engine that could.
const NEEDED: u32 = watertight_engine::VERSION + 1;

fn for_engines(min: u32, max: u32, pack: &[u8]) -> Vec<u8> {
    with(pack, Section::Manifest, |bytes| {
        let (head, _) = ManifestRecord::mut_from_prefix(bytes.as_mut_slice()).expect("a manifest");
        (head.engine_min, head.engine_max) = (min.into(), max.into());
    })
}

/// A pack whose image is of the layout after this one.
fn newer_image(pack: &[u8]) -> Vec<u8> {
    with(pack, Section::Image, |bytes| {
        let (head, _) = Header::mut_from_prefix(bytes.as_mut_slice()).expect("an image");
        head.version = (VERSION + 1).into();
    })
}

#[test]
fn the_compiler_alone_refuses_to_build_what_its_own_engine_could_not_run() {
    let desk = Desk::new(&rule("Image|endswith: /museum"), "{Image: /museum}");
    desk.write("pack.yml", &format!("name: museum\nversion: 1\nengine: {{ min: {NEEDED}, max: {NEEDED} }}\n"));
    desk.refuses(&["pack.yml:3:", &format!("min {NEEDED} is newer than engine"), "= mend: write"]);
}

#[test]
fn the_packs_own_word_alone_keeps_it_off_the_host_and_the_old_rules_stay() {
    let host = Host::new();
    assert_eq!(host.install(&good_pack(None)).code, Some(0));
    // The image itself is one that this engine could read.
    host.refuses(&for_engines(NEEDED, NEEDED, &good_pack(None)), &["this is engine", "update this program"]);
    assert_eq!(host.next(), "candidate");
}

#[test]
fn the_publisher_can_not_say_that_an_engine_loads_it_which_does_not_know_its_layout() {
    let desk = Desk::new(&rule("Image|endswith: /museum"), "{Image: /museum}");
    desk.write("pack.yml", &format!("name: museum\nversion: 1\nengine: {{ min: {}, max: {NEEDED} }}\n", VERSION - 1));
    desk.refuses(&["pack.yml:3", &format!("write {VERSION} or a later one")]);
    let older = for_engines(VERSION - 1, NEEDED, &good_pack(None));
    Host::new().refuses(&older, &[&format!("its rules need engine {VERSION}")]);
}

#[test]
fn the_check_of_the_image_alone_refuses_a_pack_that_says_it_fits() {
    let host = Host::new();
    let lies = newer_image(&for_engines(VERSION, NEEDED, &good_pack(None)));
    host.refuses(&lies, &["of layout", "compiled for it"]);
}
