//! The shipped rules and those of the user, over typed events: the event answers from its own fields, nothing is copied.

mod compile;
mod typed;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use anyhow::{bail, Context as _, Result};
use watertight_engine::{
    CorrelationLimits, Explanation, HashKey, Image, Limits, LogSource, Moment, Plan, Rule, Scratch, Tally,
};
use watertight_event::{sigma_types, Event, Field, Kind};

pub use self::compile::{compiled, load, Loaded};
use self::typed::TypedEvent;
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

/// Opens an image as a host does: one that is for another sensor, or asks for what this one's events do not have, is refused whole.
///
/// # Errors
/// It is no image, or not one for this host; the error names rule, field and line.
pub fn open(image: &[u8]) -> Result<Image<'_>> {
    let image = Image::open(image).context("opening the rules")?;
    check(&image)?;
    Ok(image)
}

/// Whether an image that is open is one for this host.
///
/// # Errors
/// As [`open`], but for its form.
pub fn check(image: &Image<'_>) -> Result<()> {
    if image.is_foreign() {
        bail!("the content was compiled for any sensor's events: compile it for a host (`watertight content build`)");
    }
    image.check_supply(&types_here).context("the rules don't fit this host")?;
    Ok(())
}

/// The types of a field in this host's events of a log source.
pub(super) fn types_here(logsource: &LogSource<'_>, field: &str) -> Option<u32> {
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
        self.evaluate_next(event, &[], alert, &mut |_| {})
    }

    /// Calls `alert` for each rule that fires on the event, the next of a run. What it completes is told by [`Self::advance`];
    /// what can't wait for that, because too much does already, is told to `together`. `line` is the event as it was written,
    /// or empty.
    pub fn evaluate_next(
        &mut self,
        event: &Event,
        line: &[u8],
        alert: &mut dyn FnMut(Alert<'_>),
        together: &mut dyn FnMut(CorrelationAlert<'_>),
    ) -> Limits {
        self.count = self.count.saturating_add(1);
        let moment = Moment { time_ns: event.boot_ns, number: self.count };
        self.evaluate_at((event, line), moment, alert, together)
    }

    /// The same for an event whose time and number the caller knows better.
    pub fn evaluate_at(
        &mut self,
        (event, line): (&Event, &[u8]),
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
                correlations.on_hit(position, (&fields, event, line), moment, together);
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

    /// Events that correlations have listened to and that are still at hand.
    #[must_use]
    pub fn correlated(&self) -> u64 {
        self.correlations.as_ref().map_or(0, Correlations::kept)
    }

    /// The correlations that let groups or events go because their state was full: position, id, and how many.
    pub fn over_state(&self) -> impl Iterator<Item = (u32, &'_ str, u64)> + '_ {
        let counts = self.correlations.iter().flat_map(Correlations::over_state);
        counts.filter_map(|(position, count)| Some((position, self.id(position)?, count)))
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

#[cfg(test)]
pub(in crate::worker::rules) mod tests {
    use watertight_content::sigma::{load_texts, Source as RuleSource};
    use watertight_event::{Outcome, Source};

    use super::*;

    pub fn ready(image: &[u8]) -> Rules<'_> {
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
    fn a_quiet_event_fires_nothing() {
        let Loaded { image, .. } = load(&[]).expect("the shipped rules");
        let mut rules = ready(&image);
        let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1)
            .with(Field::Executable, "/usr/bin/true")
            .with(Field::CommandLine, "true");
        rules.evaluate(&event, &mut |alert| panic!("{} fired", alert.rule.title()));
    }

    #[test]
    fn what_the_sensor_cut_of_a_field_that_rules_ask_for_is_told_and_of_another_is_not() {
        let rule = "title: T\nid: 11111111-2222-4333-8444-555555555555\n\
             logsource: {category: process_creation, product: linux}\n\
             detection: {s: {CommandLine|contains: needle}, condition: s}\n";
        let image = load_texts([RuleSource { file: "rule.yml", text: rule }]).host_image().expect("a rule");
        let mut rules = ready(&image);
        let cut = |is_truncated| watertight_event::Text { bytes: b"/bin/true xxx"[..].into(), is_truncated };
        let event = |field, is_cut| {
            let event = Event::new(Kind::ProcessExec, Outcome::Done, Source::TpBtf, 1).with(Field::CommandLine, "true");
            event.with(field, cut(is_cut))
        };
        let mut is_told = |field, is_cut| rules.evaluate(&event(field, is_cut), &mut |_| {}).is_cut_at_source;
        assert!(is_told(Field::CommandLine, true));
        assert!(!is_told(Field::CommandLine, false));
        assert!(!is_told(Field::Cwd, true), "no rule asks for it");
    }

    /// A rule with the id of a shipped one, which fires on every program.
    pub fn instead_of(id: &str, title: &str) -> String {
        format!(
            "title: {title}\nid: {id}\nlogsource: {{category: process_creation, product: linux}}\n\
             detection:\n  selection:\n    Image|startswith: /\n  condition: selection\n"
        )
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
}
