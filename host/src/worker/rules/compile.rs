//! Rules in text to an image: the shipped ones and those of the user, whose word is the last.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use watertight_content::sigma::diagnostic::render;
use watertight_content::sigma::{find, load_found, load_texts, same_id, Found, Library, LoadError, Source};

/// The rules of a run, and what became of those that were read for it.
pub struct Loaded {
    /// The rules, compiled.
    pub image: Vec<u8>,
    /// How many they are.
    pub rules: usize,
    /// Rules that were refused and folders without rules, by name: they are never skipped in silence.
    pub refused: Vec<String>,
    /// Shipped rules whose place one of the user's took, because it has the same id.
    pub replaced: usize,
}

/// Reads the rules: the shipped ones and each folder's. The user's word is the last: a rule with the id of a shipped one takes
/// its place. One that is refused does not, and an id that the user gives twice is refused the second time.
///
/// # Errors
/// A file or folder can't be read, or the rules together exceed what the engine takes.
pub fn load(folders: &[PathBuf]) -> Result<Loaded> {
    compiled(folders.iter().map(|folder| find(folder)))
}

/// The same of texts that another has read.
///
/// # Errors
/// As [`load`].
pub fn compiled(found: impl IntoIterator<Item = Found>) -> Result<Loaded> {
    let shipped = watertight_rules::shipped().iter().map(|rule| Source { file: rule.path, text: rule.source });
    let Library {
        rules: shipped,
        correlations: mut together,
        exceptions: mut excepted,
        rejections: mut refused,
        mut texts,
        ..
    } = load_texts(shipped);
    let Library { rules: own, correlations, exceptions, rejections, unreadable, texts: own_texts, .. } =
        load_found(found);
    excepted.extend(exceptions);
    texts.extend(own_texts);
    refused.extend(rejections);
    let mut refused: Vec<String> = refused.iter().map(|refused| render(refused, false)).collect();
    for error in unreadable {
        match error {
            // A folder that an update left empty is told, and ends no run.
            LoadError::NoRules { .. } => refused.push(error.to_string()),
            _ => return Err(error).context("reading rules"),
        }
    }
    let taken: HashSet<String> = own.iter().map(|loaded| same_id(&loaded.rule.id)).collect();
    let (replaced, mut rules): (Vec<_>, Vec<_>) =
        shipped.into_iter().partition(|loaded| taken.contains(&same_id(&loaded.rule.id)));
    rules.extend(own);
    let before = together.len();
    let is_taken = |id: &str| {
        let id = same_id(id);
        taken.contains(&id) || correlations.iter().any(|own| same_id(&own.correlation.id) == id)
    };
    together.retain(|shipped| !is_taken(&shipped.correlation.id));
    let replaced = replaced.len().saturating_add(before.saturating_sub(together.len()));
    together.extend(correlations);
    let mut library = Library { rules, correlations: together, exceptions: excepted, texts, ..Library::default() };
    let image = library.host_image().context("putting the rules together")?;
    refused.extend(library.rejections.iter().map(|refused| render(refused, false)));
    let rules = library.rules.len().saturating_add(library.correlations.len());
    Ok(Loaded { image, rules, refused, replaced })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use watertight_event::{Event, Field, Kind, Outcome, Source};

    use super::super::rules_in_words;
    use super::super::tests::{instead_of, ready};
    use super::{load, Loaded};

    #[test]
    fn a_rule_of_the_users_takes_the_place_of_the_shipped_one_with_its_id() {
        let Loaded { image: shipped, .. } = load(&[]).expect("the shipped rules");
        let shipped = ready(&shipped);
        let [first, second, third] = [0, 1, 2]
            .map(|at| shipped.image.expect("opened").rule(at).expect("there are more than three").id().to_owned());
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("a file");
        write("mine.yml", instead_of(&first.to_uppercase(), "Mine"));
        write("twice.yml", instead_of(&first, "Twice"));
        write("other.yml", instead_of(&second, "Other"));
        write("refused.yml", instead_of(&third, "Refused").replace("startswith", "no_such_modifier"));
        write("new.yml", instead_of("11111111-2222-4333-8444-555555555555", "New"));
        let Loaded { image, refused, replaced, .. } = load(&[folder.path().to_owned()]).expect("rules");
        let mut rules = ready(&image);
        assert_eq!((rules.len(), replaced), (shipped.len() + 1, 2));
        assert_eq!(refused.len(), 2, "{refused:?}");
        let twice = refused.iter().find(|words| words.contains("twice.yml")).expect("named by its file");
        assert!(twice.contains("already that of the rule in") && twice.contains("mine.yml"), "{twice}");
        assert!(
            rules.image.expect("opened").rules().any(|rule| rule.id() == third),
            "the shipped one stays where the user's is refused"
        );
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1).with(Field::Executable, "/bin/true");
        let mut fired = Vec::new();
        rules.evaluate(&event, &mut |alert| fired.push(alert.rule.title().to_owned()));
        fired.sort();
        assert_eq!(fired, ["Mine", "New", "Other"]);
        assert!(rules_in_words(rules.len(), replaced).contains(" 2 of them from --rules"));
    }

    #[test]
    fn a_rule_that_demands_an_action_is_taken_in_either_mode_and_says_which() {
        let folder = tempfile::tempdir().expect("a folder");
        for (mode, is_enforced) in [("audit", false), ("enforce", true)] {
            let text =
                instead_of("11111111-2222-4333-8444-555555555555", "Killer") + "action: kill\nmode: " + mode + "\n";
            std::fs::write(folder.path().join("rule.yml"), text).expect("a file");
            let Loaded { image, refused, .. } = load(&[folder.path().to_owned()]).expect("rules");
            let rules = ready(&image);
            let killer = rules.image.expect("opened").rules().find(|rule| rule.title() == "Killer");
            assert_eq!(killer.map(|rule| rule.response().is_enforced), Some(is_enforced), "{mode}");
            assert_eq!(refused, Vec::<String>::new());
        }
    }

    #[test]
    fn an_exception_of_the_users_is_put_into_a_shipped_rule() {
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Executable, "memfd:x")
            .with(Field::IsMemfd, true)
            .with(Field::User, "builder")
            .with(Field::CommandLine, "x");
        let fired = |folders: &[PathBuf]| {
            let Loaded { image, .. } = load(folders).expect("rules");
            let mut fired = Vec::new();
            ready(&image).evaluate(&event, &mut |alert| fired.push(alert.rule.id().to_owned()));
            fired
        };
        let shipped = fired(&[]);
        let first = shipped.first().expect("a program from memory is told");
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "title: The builder\nid: mine\nexception:\n  rules: [{first}]\n  selection: {{User: builder}}\n  condition: selection\n"
        );
        std::fs::write(folder.path().join("exception.yml"), text).expect("a file");
        let left = fired(&[folder.path().to_owned()]);
        assert_eq!(left, shipped[1..]);
    }

    #[test]
    fn a_folder_without_rules_is_told_and_ends_no_run() {
        let shipped = load(&[]).expect("the shipped rules").rules;
        let folder = tempfile::tempdir().expect("a folder");
        let Loaded { rules, refused, .. } = load(&[folder.path().to_owned()]).expect("rules");
        assert_eq!(rules, shipped);
        let [told] = refused.as_slice() else { panic!("{refused:?}") };
        assert!(told.contains("no rules in") && told.contains(&folder.path().display().to_string()), "{told}");
    }

    #[test]
    fn an_id_in_two_folders_is_refused_the_second_time_and_both_files_are_named() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let id = "11111111-2222-4333-8444-555555555555";
        for (folder, name) in folders.iter().zip(["first.yml", "second.yml"]) {
            std::fs::write(folder.path().join(name), instead_of(id, name)).expect("a file");
        }
        let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().to_owned()).collect();
        let Loaded { refused, .. } = load(&paths).expect("rules");
        let [refusal] = refused.as_slice() else { panic!("{refused:?}") };
        assert!(refusal.contains("second.yml") && refusal.contains("first.yml"), "{refusal}");
    }
}
