//! Packs and images that no compiler of ours would make: written with the pack writer without the checks before it, or changed by hand
//! and sealed again with right digests.

use sha2::{Digest as _, Sha256};
use watertight_content::sigma::{load_texts, Source};
use watertight_content_pack::layout::{Header, Section, SectionRecord, MAGIC, VERSION};
use watertight_content_pack::{write, Canary, Document, Engines, Event, Kind, Parts as Written, Value};
use watertight_engine::image::layout as image;
use watertight_policy::Policy;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The one rule of these packs.
pub const RULE: &str = "7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a99";

/// A rule on programs that are started, with this selection; its document begins on line 1.
pub fn rule(selection: &str) -> String {
    format!(
        "title: Museum\nid: {RULE}\nlogsource: {{category: process_creation, product: linux}}\n\
         detection:\n  selection:\n    {selection}\n  condition: selection\n"
    )
}

/// The image of rules for any sensor's events, called one for this host's: nobody has looked at what the host supplies.
pub fn image_without_the_compilers_check(rules: &str) -> Vec<u8> {
    let mut library = load_texts([Source { file: "museum.yml", text: rules }]);
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
    let mut bytes = library.image().expect("it compiles for any sensor");
    let (header, _) = image::Header::mut_from_prefix(&mut bytes).expect("an image");
    header.flags = 0.into();
    bytes
}

/// The records of a section of an image, to be changed where they lie.
pub fn records<T>(bytes: &mut [u8], section: image::Section) -> &mut [T]
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + zerocopy::KnownLayout,
{
    let (_, rest) = image::Header::ref_from_prefix(bytes).expect("an image");
    let (directory, _) =
        <[image::SectionRecord]>::ref_from_prefix_with_elems(rest, image::Section::ALL.len()).expect("an image");
    let record = directory.iter().find(|record| record.kind.get() == section as u32).expect("every image has it");
    let number = |wide: u64| usize::try_from(wide).expect("a small image");
    let (first, size) = (number(record.offset.get()), number(record.size_bytes.get()));
    <[T]>::mut_from_bytes(&mut bytes[first..first + size]).expect("whole records")
}

/// A pack of this image, whose rule must fire on a program that is started with these fields.
pub fn pack_of(image: &[u8], fields: &[(&str, &str)], policy: Option<&Policy>) -> Vec<u8> {
    written("museum", "process_creation", image, fields, policy)
}

/// A pack whose rule has this title and fires on files of this name.
pub fn pack_on_file(name: &str, title: &str, file: &str) -> Vec<u8> {
    let text = rule(&format!("TargetFilename|endswith: /{file}"))
        .replace("process_creation", "file_event")
        .replace("title: Museum", &format!("title: {title}"));
    let path = format!("/tmp/{file}");
    written(name, "file_event", &image_without_the_compilers_check(&text), &[("TargetFilename", &path)], None)
}

/// The pack writer's work alone: no rule is read, no event tried.
fn written(name: &str, category: &str, image: &[u8], fields: &[(&str, &str)], policy: Option<&Policy>) -> Vec<u8> {
    let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), vec![Value::Text(text.as_bytes().to_vec())]));
    let event = Event {
        category: Some(category.to_owned()),
        product: Some("linux".to_owned()),
        fields: fields.collect(),
        ..Event::default()
    };
    let canary =
        Canary { name: "museum".to_owned(), events: vec![event], fires: vec![RULE.to_owned()], silent: Vec::new() };
    let parts = Written {
        name,
        version: 1,
        engines: Engines::OF_THIS,
        is_urgent: false,
        image,
        documents: vec![Document { id: RULE, kind: Kind::Rule, sha256: [7; 32] }],
        canaries: vec![canary],
        policy,
    };
    write(&parts).expect("the pack writer takes it")
}

/// A pack that is right in every respect, with this policy.
pub fn good_pack(policy: Option<&Policy>) -> Vec<u8> {
    pack_of(&image_without_the_compilers_check(&rule("Image|endswith: /museum")), &[("Image", "/museum")], policy)
}

/// The bytes of each section.
pub type Parts = [Vec<u8>; Section::ALL.len()];

/// A pack taken apart.
pub fn parts(pack: &[u8]) -> Parts {
    let (_, rest) = Header::ref_from_prefix(pack).expect("a pack");
    let (records, _) = <[SectionRecord]>::ref_from_prefix_with_elems(rest, Section::ALL.len()).expect("a pack");
    std::array::from_fn(|at| {
        let number = |wide: u64| usize::try_from(wide).expect("a small pack");
        let first = number(records[at].offset.get());
        pack[first..first + number(records[at].size_bytes.get())].to_vec()
    })
}

/// Sections behind a head that is right for them, whatever they are.
pub fn sealed(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut offset = (size_of::<Header>() + sections.len() * size_of::<SectionRecord>()) as u64;
    let mut directory = Vec::new();
    for (kind, bytes) in sections {
        directory.push(SectionRecord {
            kind: (*kind).into(),
            reserved: 0.into(),
            offset: offset.into(),
            size_bytes: (bytes.len() as u64).into(),
            sha256: Sha256::digest(bytes).into(),
        });
        offset += bytes.len() as u64;
    }
    let count = u32::try_from(sections.len()).expect("few");
    let header = Header { magic: MAGIC, version: VERSION.into(), sections: count.into(), size_bytes: offset.into() };
    let bodies = sections.iter().flat_map(|(_, bytes)| bytes.iter().copied());
    [header.as_bytes(), directory.as_bytes()].concat().into_iter().chain(bodies).collect()
}

/// The pack with one section changed.
pub fn with(pack: &[u8], section: Section, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut sections: Vec<(u32, Vec<u8>)> =
        Section::ALL.iter().map(|section| *section as u32).zip(parts(pack)).collect();
    let (_, bytes) = sections.iter_mut().find(|(kind, _)| *kind == section as u32).expect("every pack has it");
    change(bytes);
    sealed(&sections)
}
