//! What correlations are worth on a sensor: no more than what they listen to.

use super::exception::Applied;
use super::link::link;
use super::verdict::{judge, lacking, Supplied, Supply, Verdict};
use super::Library;
use crate::image::{Correlation, Input, Listened};
use crate::rule::{InputSource, KeyField, Kind};

/// The verdict of each correlation of a library, by its position there.
pub(super) fn verdicts(library: &Library, applied: &Applied, supply: &Supply) -> Vec<(Verdict, String)> {
    let linked = link(&library.rules, &applied.rules, &applied.correlations);
    let mut by_place: Vec<(Verdict, String)> = Vec::with_capacity(linked.correlations.len());
    for compiled in &linked.correlations {
        let of_input = |input: &Input| match input.target {
            Listened::Correlation(place) => by_place.get(place).cloned().unwrap_or((Verdict::Never, String::new())),
            Listened::Rule(position) => match linked.sources.get(position) {
                Some(source) => with_parts(input, &compiled.correlation.kind, source.rule, supply),
                None => (Verdict::Never, String::new()),
            },
        };
        let verdict = of_all(compiled, &of_input);
        by_place.push(verdict);
    }
    let mut verdicts = vec![(Verdict::Rejected, String::new()); library.correlations.len()];
    for (origin, verdict) in linked.origins.iter().zip(by_place) {
        if let Some(place) = verdicts.get_mut(*origin) {
            *place = verdict;
        }
    }
    for (position, at) in linked.failed {
        if let Some(place) = verdicts.get_mut(position) {
            *place = (Verdict::Rejected, at.reason.to_string());
        }
    }
    verdicts
}

/// A rule's verdict, if what it is joined by and measured in is supplied too.
fn with_parts(input: &Input, kind: &Kind, rule: &crate::rule::Rule, supply: &Supply) -> (Verdict, String) {
    let (verdict, reason) = judge(rule, supply);
    if verdict == Verdict::Never {
        return (verdict, reason);
    }
    let entries: Vec<&Supplied> = supply.entries.iter().filter(|entry| entry.serves(&rule.logsource)).collect();
    let is_missing = |(named, types): &(&KeyField, u32)| !entries.iter().any(|entry| entry.has(&named.field, *types));
    let missing: Vec<String> = input
        .asks(kind)
        .filter(is_missing)
        .map(|(named, _)| lacking(&named.field, named.span.line, &entries))
        .collect();
    if !missing.is_empty() {
        let reason = format!("it is joined by {}, which its log source does not supply", missing.join(", "));
        return (Verdict::Never, reason);
    }
    (verdict, reason)
}

/// The verdict over all inputs: of a count one is enough, of a sequence all must be able to fire.
fn of_all(compiled: &Correlation<'_>, of_input: &dyn Fn(&Input) -> (Verdict, String)) -> (Verdict, String) {
    let all: Vec<(&Input, (Verdict, String))> = compiled.inputs.iter().map(|input| (input, of_input(input))).collect();
    let said = |input: &Input, reason: &str| match (reason.is_empty(), is_stage(compiled)) {
        (true, _) => format!("{} is worth no more", input.name),
        (false, true) => format!("stage {}: {reason}", input.name),
        (false, false) => format!("rule {}: {reason}", input.name),
    };
    let is_never = |(_, (verdict, _)): &&(&Input, (Verdict, String))| *verdict >= Verdict::Never;
    let needed_never = match &compiled.correlation.kind {
        Kind::Window { .. } => all.iter().find(is_never).filter(|_| all.iter().all(|one| is_never(&one))),
        Kind::Sequence { absent_ns } => {
            let happening = all.len().saturating_sub(usize::from(absent_ns.is_some()));
            all.iter().take(happening).find(is_never)
        }
        Kind::Temporal(terms) => {
            let can = |bits: u32| (0_u32..).zip(&all).all(|(at, one)| bits >> at & 1 == 0 || !is_never(&one));
            all.iter().find(is_never).filter(|_| !terms.iter().any(|(must, _)| can(*must)))
        }
    };
    if let Some((input, (_, reason))) = needed_never {
        return (Verdict::Never, said(input, reason));
    }
    match all.iter().find(|(_, (verdict, _))| *verdict != Verdict::CanFire) {
        Some((input, (_, reason))) => (Verdict::Degraded, said(input, reason)),
        None => (Verdict::CanFire, String::new()),
    }
}

fn is_stage(compiled: &Correlation<'_>) -> bool {
    compiled.correlation.inputs.iter().any(|input| matches!(input.source, InputSource::Inline(_)))
}
