//! Rule folders as they are found: files that are no rules are refused by name, with what to do, and the good ones still load.

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;
use watertight_content::sigma::{load_dir, load_dirs, Library};

const GOOD: &str = "title: Good\nid: 8f0a9bb4-8a2d-4a3e-9d5e-0c5b1d7a5b11\nlogsource:\n  category: process_creation\n  product: linux\n\
detection:\n  selection:\n    Image: /bin/x\n  condition: selection\nlevel: low\n";

fn with(name: &str, content: &[u8]) -> (TempDir, Library) {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("good.yml"), GOOD).expect("written");
    fs::write(folder.path().join(name), content).expect("written");
    let library = load_dir(folder.path());
    assert_eq!(library.rules.len(), 1, "the good rule beside it must load: {:?}", library.rejections);
    (folder, library)
}

fn only_rejection(library: &Library) -> String {
    assert_eq!((library.rejections.len(), library.unreadable.len()), (1, 0), "{library:?}");
    library.rejections[0].to_string()
}

fn only_unreadable(library: &Library) -> String {
    assert_eq!((library.rejections.len(), library.unreadable.len()), (0, 1), "{library:?}");
    library.unreadable[0].to_string()
}

#[test]
fn text_that_is_no_yaml_is_refused_by_file_and_line() {
    let (_folder, library) = with("bad.yml", b"title: [unclosed\n  - x: {\n");
    let words = only_rejection(&library);
    assert!(words.contains("bad.yml:"), "{words}");
}

#[test]
fn endings_in_large_letters_are_rules_and_tests_too() {
    let folder = TempDir::new().expect("a folder");
    for (at, name) in ["a.YML", "b.Yaml", "c.yml"].iter().enumerate() {
        fs::write(folder.path().join(name), GOOD.replace("8f0a", &format!("8f0{at}"))).expect("written");
    }
    for name in ["a.tests.YML", "b.Tests.yml"] {
        fs::write(folder.path().join(name), "fires: []\n").expect("written");
    }
    let library = load_dir(folder.path());
    assert_eq!((library.rules.len(), library.tests), (3, 2), "{library:?}");
    assert_eq!((library.rejections.len(), library.unreadable.len()), (0, 0), "{library:?}");
}

#[test]
fn a_folder_without_rules_is_named() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("readme.txt"), GOOD).expect("written");
    let words = only_unreadable(&load_dir(folder.path()));
    assert!(words.contains(&format!("no rules in {}", folder.path().display())) && words.contains(".yaml"), "{words}");
    fs::write(folder.path().join("good.yml"), GOOD).expect("written");
    let other = TempDir::new().expect("a folder");
    let both = load_dirs([folder.path(), other.path()]);
    assert_eq!(both.rules.len(), 1);
    assert!(only_unreadable(&both).contains(&other.path().display().to_string()), "the one without is named");
}

#[test]
fn a_rules_tests_are_counted_and_are_no_rule() {
    for name in ["good.tests.yml", "good.tests.yaml"] {
        let (_folder, library) = with(name, b"fires:\n  - category: process_creation\n    event: { Image: /bin/x }\n");
        assert_eq!((library.rejections.len(), library.unreadable.len(), library.tests), (0, 0, 1), "{library:?}");
    }
}

#[test]
fn a_file_named_like_tests_of_no_rule_is_not_left_out_in_silence() {
    let (_folder, library) = with("other.tests.yml", b"fires: []\n");
    assert!(only_rejection(&library).contains("other.tests.yml"));
    assert_eq!(library.tests, 0);
}

#[test]
fn binary_is_refused_with_the_mend() {
    let (_folder, library) = with("bad.yml", &[0x7f, b'E', b'L', b'F', 2, 1, 0xff, 0xfe]);
    let words = only_unreadable(&library);
    assert!(words.contains("bad.yml is not UTF-8 text") && words.contains("save it so"), "{words}");
}

#[test]
fn zero_bytes_in_text_are_refused_and_not_a_panic() {
    let (_folder, library) = with("bad.yml", b"title: a\0b\n\0\0\0");
    only_rejection(&library);
}

#[test]
fn an_empty_file_is_no_rule_and_no_failure() {
    let (_folder, library) = with("empty.yml", b"");
    assert!(library.unreadable.is_empty(), "{library:?}");
    assert!(library.rejections.iter().all(|rejection| rejection.to_string().contains("empty.yml")), "{library:?}");
}

#[test]
fn a_folder_with_the_name_of_a_rule_is_looked_into() {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("rules.yml")).expect("made");
    fs::write(folder.path().join("rules.yml/good.yml"), GOOD).expect("written");
    let library = load_dir(folder.path());
    assert_eq!((library.rules.len(), library.unreadable.len()), (1, 0), "{library:?}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let library = load_dir(Path::new("/nonexistent/rules"));
    assert!(only_unreadable(&library).contains("/nonexistent/rules can't be read"), "{library:?}");
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let (folder, _) = with("closed.yml", GOOD.as_bytes());
    let path = folder.path().join("closed.yml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("ours");
    if fs::File::open(&path).is_ok() {
        return; // root reads everything
    }
    let library = load_dir(folder.path());
    assert!(only_unreadable(&library).contains("closed.yml can't be read"), "{library:?}");
}

#[test]
fn pipes_and_devices_are_refused_and_never_waited_for() {
    let folder = TempDir::new().expect("a folder");
    symlink("/dev/zero", folder.path().join("zero.yml")).expect("linked");
    let fifo = folder.path().join("pipe.yml");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("made");
    let library = load_dir(folder.path());
    assert_eq!(library.unreadable.len(), 2, "{library:?}");
    assert!(library.unreadable.iter().all(|error| error.to_string().contains("plain files")), "{library:?}");
}

#[test]
fn a_yaml_bomb_is_refused_before_it_grows() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    let (_folder, library) = with("bomb.yml", bomb.as_bytes());
    let words = only_rejection(&library);
    assert!(words.contains("bomb.yml"), "{words}");
}

#[test]
fn deep_nesting_is_refused_and_not_a_stack_overflow() {
    let (_folder, library) = with("deep.yml", "[".repeat(100_000).as_bytes());
    only_rejection(&library);
    let (_folder, library) = with("deep.yml", "- ".repeat(100_000).as_bytes());
    only_rejection(&library);
}

#[test]
fn what_a_pack_is_built_from_beside_rules_is_no_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("our own folder");
    write("policy.yml", "version: 1\n");
    assert_eq!(load_dir(folder.path()).rejections.len(), 1, "without a release it is a rule in the wrong form");
    write("pack.yml", "name: linux\nversion: 1\n");
    let library = load_dir(folder.path());
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
}
