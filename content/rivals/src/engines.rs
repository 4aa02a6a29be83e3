//! The engines behind one face. What each does with rules and events as its makers mean it to be used; events are made ready
//! beforehand, so that parsing JSON is in nobody's time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use serde_json::Value as Json;
use watertight_content::rule::LogSource;
use watertight_content::sigma::{load_dir, Slots};
use watertight_engine::{Image, Plan, Scratch};

use crate::copies;

/// An event and where it comes from.
pub struct Event {
    pub logsource: LogSource,
    pub fields: Json,
}

/// Rules in an engine.
pub enum Engine {
    /// With the working memory and the plans that a detector keeps for all its events.
    Watertight { image: Image<'static>, slots: Slots, kept: RefCell<Kept> },
    Rsigma(Box<rsigma_eval::Engine>),
    SigmaRust(Vec<(LogSource, sigma_rust::Rule)>),
}

/// What our engine keeps between events.
#[derive(Default)]
pub struct Kept {
    scratch: Scratch,
    plans: Vec<Plan<'static>>,
    by_source: HashMap<LogSource, usize>,
}

/// All of them.
pub const NAMES: [&str; 3] = ["watertight", "rsigma-eval", "sigma-rust"];

/// Events made ready for an engine. They borrow from what they were made of.
pub enum Ready<'e> {
    /// Each event with the position of its plan.
    Watertight(Vec<(usize, watertight_content::sigma::JsonEvent)>),
    Rsigma(Vec<(rsigma_parser::LogSource, rsigma_eval::JsonEvent<'e>)>),
    SigmaRust(Vec<(Vec<usize>, sigma_rust::Event)>),
}

impl Engine {
    /// Reads rules: the folder's, or for ours, which are compiled elsewhere, an image. How many it took.
    pub fn load(name: &str, rules_of: &Path) -> Result<(Self, usize)> {
        match name {
            "watertight" => {
                let bytes = fs::read(rules_of).with_context(|| format!("reading {}", rules_of.display()))?;
                let image = Image::open(bytes.leak())?;
                let slots = Slots::of(&image);
                let count = image.rules().len();
                Ok((Self::Watertight { image, slots, kept: RefCell::default() }, count))
            }
            "rsigma-eval" => {
                let mut engine = rsigma_eval::Engine::new();
                let mut rules = Vec::new();
                for file in rule_files(rules_of)? {
                    let Ok(collection) = rsigma_parser::parse_sigma_yaml(&fs::read_to_string(&file)?) else { continue };
                    rules.extend(collection.rules);
                }
                // All at once: it makes its index anew each time. A rule that it refuses is one that it does not have.
                let refused = engine.add_rules(&rules).len();
                let count = rules.len() - refused;
                Ok((Self::Rsigma(Box::new(engine)), count))
            }
            "sigma-rust" => {
                let mut own = Vec::new();
                for file in rule_files(rules_of)? {
                    let Ok(rule) = sigma_rust::rule_from_yaml(&fs::read_to_string(&file)?) else { continue };
                    let part = |part: &Option<String>| part.clone();
                    let logsource = LogSource {
                        category: part(&rule.logsource.category),
                        product: part(&rule.logsource.product),
                        service: part(&rule.logsource.service),
                    };
                    own.push((logsource, rule));
                }
                let count = own.len();
                Ok((Self::SigmaRust(own), count))
            }
            _ => bail!("no engine {name}: one of {}", NAMES.join(", ")),
        }
    }

    /// Makes events ready.
    pub fn ready<'e>(&self, events: &'e [Event]) -> Ready<'e> {
        match self {
            Self::Watertight { image, slots, kept } => {
                let Kept { plans, by_source, .. } = &mut *kept.borrow_mut();
                let prepared = |event: &'e Event| {
                    let plan = *by_source.entry(event.logsource.clone()).or_insert_with(|| {
                        plans.push(image.plan(&event.logsource.lend()));
                        plans.len() - 1
                    });
                    (plan, watertight_content::sigma::JsonEvent::new(&event.fields, slots))
                };
                Ready::Watertight(events.iter().map(prepared).collect())
            }
            Self::Rsigma(_) => Ready::Rsigma(
                events
                    .iter()
                    .map(|event| (theirs(&event.logsource), rsigma_eval::JsonEvent::borrow(&event.fields)))
                    .collect(),
            ),
            Self::SigmaRust(rules) => {
                // It knows no log sources: the rules that apply are sorted out beforehand, in nobody's time.
                let mut applying: HashMap<&LogSource, Vec<usize>> = HashMap::new();
                let prepared = |event: &'e Event| {
                    let those = applying.entry(&event.logsource).or_insert_with(|| {
                        let applies =
                            |(at, (own, _)): (usize, &(LogSource, _))| own.applies_to(&event.logsource).then_some(at);
                        rules.iter().enumerate().filter_map(applies).collect()
                    });
                    let event = sigma_rust::event_from_json(&event.fields.to_string()).unwrap_or_default();
                    (those.clone(), event)
                };
                Ready::SigmaRust(events.iter().map(prepared).collect())
            }
        }
    }

    /// Evaluates every event; `hit` gets the event's position and the rule's id.
    pub fn evaluate(&self, ready: &mut Ready<'_>, hit: &mut dyn FnMut(usize, &str)) {
        match (self, ready) {
            (Self::Watertight { image, kept, .. }, Ready::Watertight(events)) => {
                let Kept { scratch, plans, .. } = &mut *kept.borrow_mut();
                for (at, (plan, event)) in events.iter().enumerate() {
                    let Some(plan) = plans.get(*plan) else { continue };
                    plan.evaluate(event, scratch, &mut |rule| hit(at, image.rule(rule).map_or("", |rule| rule.id())));
                }
            }
            (Self::Rsigma(engine), Ready::Rsigma(events)) => {
                for (at, (logsource, event)) in events.iter().enumerate() {
                    for result in engine.evaluate_with_logsource(event, logsource) {
                        hit(at, result.header.rule_id.as_deref().unwrap_or_default());
                    }
                }
            }
            (Self::SigmaRust(rules), Ready::SigmaRust(events)) => {
                for (at, (those, event)) in events.iter().enumerate() {
                    for rule in
                        those.iter().filter_map(|rule| rules.get(*rule)).filter(|(_, rule)| rule.is_match(event))
                    {
                        hit(at, rule.1.id.as_deref().unwrap_or_default());
                    }
                }
            }
            _ => {}
        }
    }
}

fn theirs(logsource: &LogSource) -> rsigma_parser::LogSource {
    rsigma_parser::LogSource {
        category: logsource.category.clone(),
        product: logsource.product.clone(),
        service: logsource.service.clone(),
        ..rsigma_parser::LogSource::default()
    }
}

/// Compiles the rules of a folder into an image, as a publisher does; so many times what they are. How many there are.
pub fn compile(rules_of: &Path, times: u8, into: &Path) -> Result<usize> {
    let mut library = load_dir(rules_of);
    copies::multiply(&mut library, times);
    let image = library.image()?;
    fs::write(into, image).with_context(|| format!("writing {}", into.display()))?;
    Ok(library.rules.len())
}

/// The files of rules below a folder, in order.
pub fn rule_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
