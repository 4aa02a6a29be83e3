//! The publisher against a loader that is a script: what it is told, in which order, and what is said of it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use watertight_policy::{Action, Mode, Operation, Target};

use super::*;

/// Far beyond what a script takes on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Answers as the loader does, from files beside it, and notes what it is told.
const SCRIPT: &str = r#"#!/bin/sh
shift 2
cd "$(dirname "$0")" || exit 1
echo "$2" >> told
case "$2" in
    show) cat shown ;;
    check) cat > /dev/null; if [ -e refused ]; then cat refused >&2; exit 1; fi; echo '{}' ;;
    publish) cat > published; echo '{"generation":2,"state":"trial"}' ;;
    *) echo '{}' ;;
esac
"#;

struct Place(TempDir);

impl Place {
    /// Written by a child: no other test's child holds the file open while it is to be started.
    fn new(shown: &str) -> Self {
        let place = Self(TempDir::new().expect("a folder"));
        std::fs::write(place.path("shown"), shown).expect("our own folder");
        let write = "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let mut shell = Command::new("/bin/sh");
        let status = shell.args(["-c", write, "sh", SCRIPT]).arg(place.path("loader")).status();
        assert!(status.expect("a shell starts").success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn publisher(&self) -> Publisher {
        let loader = Loader::find(Some(&self.path("loader")), &self.path("pins")).expect("it is there");
        let shown = std::fs::read(self.path("shown")).expect("written above");
        let shown: Shown = serde_json::from_slice(&shown).expect("the loader's form");
        Publisher::new(Ok(loader), &shown, self.0.path(), Duration::from_secs(60))
    }

    /// What the loader was told, in its order.
    fn told(&self) -> Vec<String> {
        let told = std::fs::read_to_string(self.path("told")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    fn published(&self) -> Owned {
        serde_json::from_slice(&std::fs::read(self.path("published")).expect("it was published")).expect("the rules")
    }
}

fn rule(id: &str, path: &str) -> Rule {
    let (on, target) = (vec![Operation::Exec], Target::File(path.into()));
    Rule { id: id.to_owned(), action: Action::Deny, on, target, mode: Mode::Enforce }
}

fn offer(standing: Standing, rules: Vec<Rule>) -> Offer {
    Offer { standing, rules, release: None }
}

/// Looks until it is so; gives what was told meanwhile.
fn until(publisher: &mut Publisher, progress: Option<u64>, is_so: impl Fn(&Publisher) -> bool) -> Vec<String> {
    let began = Instant::now();
    let mut told = Vec::new();
    while !is_so(publisher) {
        assert!(began.elapsed() < WAIT_MAX, "it never came to that: {:?}", publisher.word);
        told.extend(
            publisher
                .look(progress)
                .iter()
                .filter_map(|event| event.text(watertight_event::Field::Message))
                .map(|text| text.to_string()),
        );
        std::thread::sleep(LOOK_EVERY);
    }
    told
}

fn is_on_trial(publisher: &Publisher) -> bool {
    matches!(publisher.stage, Stage::Trial { .. })
}

const EMPTY: &str = r#"{"state":"empty","generation":1,"rules":[]}"#;

#[test]
fn rules_are_confirmed_only_once_a_detector_has_gone_on_under_them() {
    let place = Place::new(EMPTY);
    let mut publisher = place.publisher();
    assert!(publisher.offer(offer(Standing::Trial, vec![rule("a", "/opt/a")])).is_empty());
    until(&mut publisher, Some(7), is_on_trial);
    let Owned { pack, trial, next } = place.published();
    assert_eq!((pack.len(), trial.len(), next.len()), (0, 1, 0));
    assert_eq!(trial.first().map(|rule| rule.mode), Some(Mode::Audit), "new rules only count");
    // Longer than it would have to be at work; it is not.
    std::thread::sleep(LIVES_MIN + LIVES_MIN / 2);
    for progress in [Some(7), None, Some(7)] {
        assert!(publisher.look(progress).is_empty());
        assert!(is_on_trial(&publisher), "nobody has worked under it");
    }
    assert_eq!(publisher.word.progress, Progress::OnTrial);
    publisher.look(Some(8));
    assert!(matches!(publisher.stage, Stage::Confirming { .. }), "it has worked");
    publisher.finish();
    assert_eq!(place.told().iter().filter(|word| *word == "publish").count(), 1);
}

#[test]
fn what_policy_unseal_took_away_is_not_put_back_behind_its_back() {
    let place = Place::new(EMPTY);
    let mut publisher = place.publisher();
    std::fs::write(place.path("shown"), r#"{"state":"none"}"#).expect("our own folder");
    publisher.offer(offer(Standing::Trusted, vec![rule("a", "/opt/a")]));
    let told = until(&mut publisher, Some(1), Publisher::is_short);
    assert!(told.iter().any(|words| words.contains("policy unseal")), "{told:?}");
    assert_eq!(place.told(), ["show"], "nothing was published");
    assert!(publisher.offer(offer(Standing::Trusted, vec![rule("a", "/opt/a")])).is_empty(), "it is said once");
    assert!(publisher.look(Some(2)).is_empty() && publisher.is_short(), "nor tried again by the next detector");
    assert!(matches!(publisher.stage, Stage::Settled));
}

#[test]
fn what_the_kernel_has_already_is_not_published_again() {
    let shown = r#"{"state":"confirmed","generation":4,"rules":[
        {"id":"mine","on":["exec"],"mode":"enforce","match":{"file":"/opt/mine"}},
        {"id":"pack:a","on":["exec"],"mode":"enforce","match":{"file":"/opt/a"}}]}"#;
    let place = Place::new(shown);
    let mut publisher = place.publisher();
    publisher.offer(offer(Standing::Trusted, vec![rule("a", "/opt/a")]));
    publisher.look(Some(1));
    assert_eq!(publisher.word.progress, Progress::InForce);
    // Nor by content that says nothing, nor by a pack on trial that has the same.
    publisher.offer(offer(Standing::Silent, Vec::new()));
    publisher.offer(offer(Standing::Trial, vec![rule("a", "/opt/a")]));
    publisher.look(Some(2));
    assert_eq!(place.told(), Vec::<String>::new());
}

#[test]
fn an_executable_that_the_machine_needs_is_left_out_and_said() {
    let place = Place::new(EMPTY);
    let mut publisher = place.publisher();
    let why = "rule x would stop the rescue shell";
    std::fs::write(place.path("refused"), why).expect("our own folder");
    let wanted = Wanted { deny: rule("x-1", "/opt/x"), path: "/opt/x".into(), rule: "r".into() };
    assert_eq!(publisher.deny(wanted), Outcome::Asked);
    let told = until(&mut publisher, Some(1), is_on_trial);
    assert!(told.iter().any(|words| words.contains("/opt/x is not denied") && words.contains(why)), "{told:?}");
    assert_eq!(place.published(), Owned::default());
    assert!(publisher.word.next.is_empty());
}

#[test]
fn without_a_guard_a_policy_is_said_not_to_be_in_force_once_for_each_content() {
    let folder = TempDir::new().expect("a folder");
    let why = Err("the kernel takes no guard".to_owned());
    let mut publisher = Publisher::new(why, &Shown::default(), folder.path(), Duration::from_secs(60));
    assert!(publisher.offer(offer(Standing::Silent, Vec::new())).is_empty() && !publisher.is_short());
    let told = publisher.offer(offer(Standing::Trial, vec![rule("a", "/opt/a")]));
    assert!(told.len() == 1 && publisher.is_short());
    assert!(publisher.offer(offer(Standing::Trial, vec![rule("a", "/opt/a")])).is_empty(), "it is said once");
    let wanted = Wanted { deny: rule("x-1", "/opt/x"), path: "/opt/x".into(), rule: "r".into() };
    assert!(matches!(publisher.deny(wanted), Outcome::Refused(why) if why.contains("takes no guard")));
}
