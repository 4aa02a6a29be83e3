//! The shipped rules and those of the user, over typed events: the event answers from its own fields, nothing is copied.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use anyhow::{bail, Context as _, Result};
use watertight_content::sigma::diagnostic::render;
use watertight_content::sigma::{find, load_found, load_texts, same_id, Found, Library, LoadError, Source};
use watertight_engine::{
    CorrelationLimits, Explanation, Field as RuleField, Fields, HashKey, Image, Limits, LogSource, Moment, Plan, Rule,
    Scratch, Tally, Value as RuleValue,
};
use watertight_event::{sigma_types, Event, Field, Kind, Value};

use super::correlations::{CorrelationAlert, Correlations};

/// Rules, ready for events.
pub struct Rules<'i> {
    /// `None` where there are no rules: events are collected and handed on.
    image: Option<Image<'i>>,
    /// By kind of event: the rules for its log source, and for each slot the field that answers.
    by_kind: Vec<Option<KindRules<'i>>>,
    scratch: Scratch,
    hits: Vec<u32>,
    correlations: Option<Correlations<'i>>,
    /// Events so far.
    count: u64,
}

struct KindRules<'i> {
    plan: Arc<Plan<'i>>,
    field_by_slot: Vec<Option<Field>>,
}

/// A rule that fired.
pub struct Alert<'r> {
    /// The rule.
    pub rule: Rule<'r>,
    /// Which selections and values made it fire.
    pub explanation: Option<Explanation>,
}

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

/// Opens an image as a host does: one that is for another sensor, or asks for what this one's events do not have, is refused whole.
///
/// # Errors
/// It is no image, or not one for this host; the error names rule, field and line.
pub fn open(image: &[u8]) -> Result<Image<'_>> {
    let image = Image::open(image).context("opening the rules")?;
    if image.is_foreign() {
        bail!("the content was compiled for any sensor's events: compile it for a host (`watertight content build`)");
    }
    image.check_supply(&types_here).context("the rules don't fit this host")?;
    if let Some(rule) = image.rules().find(|rule| rule.response().is_enforced) {
        let ((file, line), action) = (rule.place(), rule.response().action.name());
        bail!(
            "{file}:{line}: rule {} demands that {action} is enforced, which this host can't: use mode audit",
            rule.id()
        );
    }
    Ok(image)
}

/// The types of a field in this host's events of a log source.
fn types_here(logsource: &LogSource<'_>, field: &str) -> Option<u32> {
    let is_ours = logsource.product.is_none_or(|product| product == "linux") && logsource.service.is_none();
    is_ours.then(|| sigma_types(logsource.category, field)).flatten()
}

/// How many rules there are, for people: a rule that is no longer the shipped one is not passed over in silence.
#[must_use]
pub fn rules_in_words(rules: usize, replaced: usize) -> String {
    match replaced {
        0 => format!("{rules} rules"),
        _ => format!("{rules} rules, {replaced} of them from --rules in the place of shipped ones"),
    }
}

impl<'i> KindRules<'i> {
    /// Kinds of one category share its plan.
    fn of(kind: Kind, image: Image<'i>, plans: &mut HashMap<&'static str, Arc<Plan<'i>>>) -> Option<Self> {
        let category = kind.sigma_logsource()?.category;
        let logsource = LogSource { category: Some(category), product: Some("linux"), service: None };
        let plan = Arc::clone(plans.entry(category).or_insert_with(|| Arc::new(image.plan(&logsource))));
        if plan.is_empty() {
            return None;
        }
        let supplied: Vec<Field> =
            Field::ALL.iter().copied().filter(|field| field.is_of_process() || kind.fields().contains(field)).collect();
        let by_name = |name: &str| supplied.iter().copied().find(|field| kind.sigma_name(*field) == name);
        Some(Self { plan, field_by_slot: image.fields().map(by_name).collect() })
    }
}

impl<'i> Rules<'i> {
    /// The rules of an image, ready for events.
    #[must_use]
    pub fn of(image: Image<'i>) -> Self {
        let mut plans = HashMap::new();
        let by_kind = Kind::ALL.iter().map(|kind| KindRules::of(*kind, image, &mut plans)).collect();
        let correlations = Some(Correlations::of(image, fresh_key()));
        Self { image: Some(image), by_kind, scratch: Scratch::new(), hits: Vec::new(), correlations, count: 0 }
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        let (by_kind, hits) = (Vec::new(), Vec::new());
        Self { image: None, by_kind, scratch: Scratch::new(), hits, correlations: None, count: 0 }
    }

    /// Notes here from now on which rule is looked at.
    pub fn leave_trail(&mut self, trail: &'static AtomicU64) {
        self.scratch.leave_trail(trail);
    }

    /// The same, and it counts what each rule costs.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { scratch: Scratch::counting(), ..self }
    }

    /// What the rules have cost, if that is counted.
    #[must_use]
    pub fn tally(&self) -> Option<&Tally> {
        self.scratch.tally()
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.image.map_or(0, |image| image.rules().filter(|rule| !rule.is_stage()).count())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the rule at this position fires on the event, or why not; `None` when it is for another log source.
    pub fn explain(&mut self, event: &Event, position: u32) -> Option<Explanation> {
        let rules = self.by_kind.get(event.kind as usize)?.as_ref()?;
        let fields = TypedEvent::new(event, &rules.field_by_slot);
        rules.plan.explain(position, &fields, &mut self.scratch)
    }

    /// The id of the rule at this position.
    #[must_use]
    pub fn id(&self, position: u32) -> Option<&'i str> {
        self.image?.rule(position).map(|rule| rule.id())
    }

    /// Calls `alert` for each rule that fires on the event by itself. What could not be found out within the budget is counted.
    pub fn evaluate(&mut self, event: &Event, alert: &mut dyn FnMut(Alert<'_>)) -> Limits {
        self.evaluate_next(event, alert, &mut |_| {})
    }

    /// Calls `alert` for each rule that fires on the event, the next of a run. What it completes is told by [`Self::advance`];
    /// what can't wait for that, because too much does already, is told to `together`.
    pub fn evaluate_next(
        &mut self,
        event: &Event,
        alert: &mut dyn FnMut(Alert<'_>),
        together: &mut dyn FnMut(CorrelationAlert<'_>),
    ) -> Limits {
        self.count = self.count.saturating_add(1);
        let moment = Moment { time_ns: event.boot_ns, number: self.count };
        self.evaluate_at(event, moment, alert, together)
    }

    /// The same for an event whose time and number the caller knows better.
    pub fn evaluate_at(
        &mut self,
        event: &Event,
        moment: Moment,
        alert: &mut dyn FnMut(Alert<'_>),
        together: &mut dyn FnMut(CorrelationAlert<'_>),
    ) -> Limits {
        let Self { image, by_kind, scratch, hits, correlations, .. } = self;
        let Some(Some(rules)) = by_kind.get(event.kind as usize) else { return Limits::default() };
        let fields = TypedEvent::new(event, &rules.field_by_slot);
        hits.clear();
        let limits = rules.plan.evaluate(&fields, scratch, &mut |position| hits.push(position));
        for position in hits.iter().copied() {
            if let Some(correlations) = correlations {
                correlations.on_hit(position, (&fields, event), moment, together);
            }
            if image.is_some_and(|image| image.is_silenced(position)) {
                continue;
            }
            let explanation = rules.plan.explain(position, &fields, scratch);
            if let Some(rule) = image.and_then(|image| image.rule(position)) {
                alert(Alert { rule, explanation });
            }
        }
        limits
    }
}

impl Rules<'_> {
    /// All events until this time have been read: correlations that they complete fire, and those whose time is over.
    pub fn advance(&mut self, now_ns: u64, together: &mut dyn FnMut(CorrelationAlert<'_>)) {
        if let Some(correlations) = &mut self.correlations {
            correlations.advance(now_ns, together);
        }
    }

    /// Whether a correlation may fire without another event.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.correlations.as_ref().is_some_and(Correlations::is_waiting)
    }

    /// What correlations could not do within their bounds.
    #[must_use]
    pub fn limits(&self) -> CorrelationLimits {
        self.correlations.as_ref().map(Correlations::limits).unwrap_or_default()
    }
}

/// A key that nobody knows. Without the kernel's random numbers it is the process's own secret of the same origin.
fn fresh_key() -> HashKey {
    use std::hash::{BuildHasher as _, RandomState};
    HashKey([RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8)])
}

/// The fields that hold addresses.
const ADDRESSES: [Field; 2] = [Field::LocalAddress, Field::RemoteAddress];

/// An event as rules see it.
struct TypedEvent<'e> {
    event: &'e Event,
    field_by_slot: &'e [Option<Field>],
    /// Addresses as text; only network events have any.
    addresses: Vec<(Field, String)>,
}

impl<'e> TypedEvent<'e> {
    fn new(event: &'e Event, field_by_slot: &'e [Option<Field>]) -> Self {
        let address = |field: &Field| match event.get(*field)? {
            Value::Address(address) => Some((*field, shown(*address))),
            _ => None,
        };
        Self { event, field_by_slot, addresses: ADDRESSES.iter().filter_map(address).collect() }
    }

    fn values<'s>(&'s self, field: Field, value: &'s Value, each: &mut dyn FnMut(RuleValue<'s>)) {
        match value {
            Value::Bool(is) => each(RuleValue::Bool(*is)),
            Value::Number(number) => each(RuleValue::Int(i64::try_from(*number).unwrap_or(i64::MAX))),
            Value::Signed(number) => each(RuleValue::Int(*number)),
            Value::Text(text) => each(RuleValue::Text(&text.bytes)),
            Value::List(items) | Value::CutList(items) => {
                items.iter().for_each(|item| each(RuleValue::Text(&item.bytes)))
            }
            Value::Address(_) => {
                let text = self.addresses.iter().find(|(name, _)| *name == field);
                text.iter().for_each(|(_, text)| each(RuleValue::Text(text.as_bytes())));
            }
        }
    }
}

/// IPv4 in IPv6 clothes is IPv4 to a rule: `::ffff:10.0.0.1` would pass every IPv4 filter.
fn shown(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

impl Fields for TypedEvent<'_> {
    fn get<'s>(&'s self, field: RuleField<'_>, each: &mut dyn FnMut(RuleValue<'s>)) {
        let Some(Some(name)) = self.field_by_slot.get(usize::from(field.slot)) else { return };
        if let Some(value) = self.event.get(*name) {
            self.values(*name, value, each);
        }
    }

    fn all<'s>(&'s self, each: &mut dyn FnMut(Option<u16>, &'s str, RuleValue<'s>)) {
        for (field, value) in self.event.fields() {
            let name = self.event.kind.sigma_name(field);
            if !name.is_empty() {
                let slot = self.field_by_slot.iter().position(|at| *at == Some(field));
                let slot = slot.and_then(|slot| u16::try_from(slot).ok());
                self.values(field, value, &mut |value| each(slot, name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use watertight_content::sigma::Source as RuleSource;
    use watertight_event::{Outcome, Source};

    use super::*;

    fn ready(image: &[u8]) -> Rules<'_> {
        Rules::of(Image::open(image).expect("compiled here"))
    }

    #[test]
    fn a_shipped_rule_fires_on_a_typed_event_and_says_why() {
        let Loaded { image, refused, replaced, .. } = load(&[]).expect("the shipped rules");
        let mut rules = ready(&image);
        assert_eq!((refused, replaced), (Vec::new(), 0));
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Executable, "memfd:x")
            .with(Field::IsMemfd, true)
            .with(Field::CommandLine, "x");
        let mut fired = Vec::new();
        rules.evaluate(&event, &mut |alert| fired.push((alert.rule.title().to_owned(), alert.explanation.is_some())));
        assert!(
            fired.iter().any(|(title, is_explained)| title.contains("started from memory") && *is_explained),
            "{fired:?}"
        );
    }

    #[test]
    fn every_field_with_an_address_is_shown_to_rules() {
        let are = |field: &Field| field.value_type() == watertight_event::Type::Address;
        assert_eq!(Field::ALL.iter().copied().filter(are).collect::<Vec<_>>(), ADDRESSES);
    }

    #[test]
    fn a_quiet_event_fires_nothing() {
        let Loaded { image, .. } = load(&[]).expect("the shipped rules");
        let mut rules = ready(&image);
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Executable, "/usr/bin/true")
            .with(Field::CommandLine, "true");
        rules.evaluate(&event, &mut |alert| panic!("{} fired", alert.rule.title()));
    }

    /// A rule with the id of a shipped one, which fires on every program.
    fn instead_of(id: &str, title: &str) -> String {
        format!(
            "title: {title}\nid: {id}\nlogsource: {{category: process_creation, product: linux}}\n\
             detection:\n  selection:\n    Image|startswith: /\n  condition: selection\n"
        )
    }

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
    fn a_rule_that_demands_what_no_worker_can_do_is_refused_by_name_and_one_in_audit_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        for (mode, is_in) in [("audit", true), ("enforce", false)] {
            let text =
                instead_of("11111111-2222-4333-8444-555555555555", "Killer") + "action: kill\nmode: " + mode + "\n";
            std::fs::write(folder.path().join("rule.yml"), text).expect("a file");
            let Loaded { image, refused, .. } = load(&[folder.path().to_owned()]).expect("rules");
            let rules = ready(&image);
            assert_eq!(rules.image.expect("opened").rules().any(|rule| rule.title() == "Killer"), is_in, "{mode}");
            assert_eq!(refused.iter().any(|words| words.contains("WT0504") && words.contains("rule.yml")), !is_in);
        }
    }

    #[test]
    fn content_for_another_sensor_is_refused_whole_by_rule_field_and_line() {
        let text = instead_of("11111111-2222-4333-8444-555555555555", "Other").replace("Image", "OriginalFileName");
        let source = || RuleSource { file: "other.yml", text: &text };
        let foreign = load_texts([source()]).image().expect("a rule");
        let refused = open(&foreign).expect_err("for any sensor");
        assert!(refused.to_string().contains("for any sensor"), "{refused}");
        // As if it had been compiled for a host whose events have the field: the flag is in the header.
        let mut forged = foreign;
        forged[12] = 0;
        let refused = open(&forged).map(|_| ()).expect_err("no such field");
        let words = format!("{refused:#}");
        for part in ["11111111-2222-4333-8444-555555555555", "line 6", "OriginalFileName is not supplied"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let ours = load_texts([RuleSource { file: "ours.yml", text: &text.replace("OriginalFileName", "Image") }])
            .host_image();
        assert!(open(&ours.expect("a rule")).is_ok());
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
