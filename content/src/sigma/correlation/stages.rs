//! Sequences with their stages in the document: each is a rule of its own, joined to those before it by the process, by fields
//! that they share, and by fields that refer to those of a stage before.

use watertight_engine::image::is_plain;
use watertight_engine::image::layout::INPUTS_MAX;

use super::{duration, problem, Read};
use crate::rule::{Input, InputSource, KeyField, Kind, Response, Rule};
use crate::sigma::document::{detection, logsource, need, wrong_type, Detection};
use crate::sigma::rejection::At;
use crate::sigma::yaml::{Content, Node};

/// The keys of a stage.
const KEYS: [&str; 6] = ["name", "by", "logsource", "detection", "where", "absent"];

/// Fields that hold the identity of a process, by how a stage is joined: its pid alone is used again.
pub(in crate::sigma) const IDENTITIES: [(&str, &str); 3] =
    [("process", "ProcessGuid"), ("parent", "ParentProcessGuid"), ("target", "TargetProcessGuid")];

/// A part of the key in the making.
struct Part {
    /// By stage: the field that gives it.
    fields: Vec<Option<KeyField>>,
    /// The stage and field that others refer to, and whether case matters.
    origin: Option<(usize, String, bool)>,
}

struct Stages<'n> {
    nodes: &'n [Node],
    names: Vec<&'n str>,
    parts: Vec<Part>,
    differs: Vec<u32>,
}

/// Reads the stages of a correlation; `of` is its id and title.
pub(super) fn read(
    node: &Node,
    list: &Node,
    type_name: &str,
    group_by: &[KeyField],
    of: (&str, &str),
) -> Result<Read, At> {
    if type_name != "temporal_ordered" {
        return Err(problem("stages have an order, and this type has none: write type temporal_ordered").at(list.span));
    }
    if let Some(other) = ["rules", "condition", "aliases"].iter().find_map(|key| node.get(key)) {
        return Err(
            problem("with stages there are no rules, condition or aliases: remove one or the other").at(other.span)
        );
    }
    let Content::List(nodes) = &list.content else { return Err(wrong_type("stages", "a list", list)) };
    if nodes.len() < 2 || nodes.len() > INPUTS_MAX as usize {
        let what = format!("stages has {} entries: a sequence has two at least, and {INPUTS_MAX} at most", nodes.len());
        return Err(problem(what).at(list.span));
    }
    let mut stages = Stages { nodes, names: names(nodes)?, parts: Vec::new(), differs: vec![0; nodes.len()] };
    stages.group(group_by);
    stages.join(node)?;
    stages.refer()?;
    let absent_ns = stages.absent()?;
    let inputs = (0..nodes.len()).map(|stage| stages.input(stage, of)).collect::<Result<Vec<_>, _>>()?;
    Ok(Read { kind: Kind::Sequence { absent_ns }, inputs, parts: stages.parts.len() })
}

fn names(nodes: &[Node]) -> Result<Vec<&str>, At> {
    let mut names: Vec<&str> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let entries = node.map().ok_or_else(|| wrong_type("a stage", "a mapping", node))?;
        if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.text.as_str())) {
            let what = format!("key {:?} of a stage is unknown: use {}", key.text, KEYS.join(", "));
            return Err(problem(what).at(key.span));
        }
        let name = need(node, "name")?;
        let is_name = |text: &&str| {
            !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
        };
        let text = name.text().filter(is_name).ok_or_else(|| {
            problem("the name of a stage has more than letters, digits, - and _, and others refer to it: shorten it")
                .at(name.span)
        })?;
        if names.contains(&text) {
            return Err(problem(format!("two stages are called {text}: rename one")).at(name.span));
        }
        names.push(text);
    }
    Ok(names)
}

impl Stages<'_> {
    /// Fields that all stages share come first: others that stand on this correlation may group by them.
    fn group(&mut self, group_by: &[KeyField]) {
        for field in group_by {
            let fields = vec![Some(field.clone()); self.nodes.len()];
            self.parts.push(Part { fields, origin: None });
        }
    }

    /// `join: process`, and how each stage is joined.
    fn join(&mut self, node: &Node) -> Result<(), At> {
        match node.get("join") {
            None => {
                if let Some(by) = self.nodes.iter().find_map(|stage| stage.get("by")) {
                    return Err(problem("by says how a stage is joined, and nothing is: add join: process").at(by.span));
                }
                return Ok(());
            }
            Some(join) if join.text() == Some("process") => {}
            Some(join) => {
                return Err(problem(
                    "join knows processes alone: write join: process; other fields are joined by group-by",
                )
                .at(join.span))
            }
        }
        let mut fields = Vec::with_capacity(self.nodes.len());
        for stage in self.nodes {
            let by = match stage.get("by") {
                None => "process",
                Some(by) => by.text().ok_or_else(|| wrong_type("by", "process, parent or target", by))?,
            };
            let place = stage.get("by").map_or(stage.span, |by| by.span);
            let field = IDENTITIES.iter().find(|(name, _)| *name == by);
            let field = field.map(|(_, field)| KeyField { field: (*field).to_owned(), span: place });
            let unknown = || problem(format!("by {by:?} is unknown: use process, parent or target")).at(place);
            fields.push(Some(field.ok_or_else(unknown)?));
        }
        self.parts.push(Part { fields, origin: None });
        Ok(())
    }

    /// What stages say of fields of those before.
    fn refer(&mut self) -> Result<(), At> {
        for (stage, node) in self.nodes.iter().enumerate() {
            let Some(asked) = node.get("where") else { continue };
            for (key, value) in asked.map().ok_or_else(|| wrong_type("where", "a mapping", asked))? {
                let mut modifiers = key.text.split('|');
                let field = modifiers.next().unwrap_or_default();
                let (mut is_reference, mut is_cased, mut differs) = (false, false, false);
                for modifier in modifiers {
                    match modifier {
                        "fieldref" => is_reference = true,
                        "cased" => is_cased = true,
                        "neq" => differs = true,
                        other => {
                            let what = format!("modifier {other:?} can't be used with a field of another stage: use fieldref, neq and cased, and put other demands into the detection");
                            return Err(problem(what).at(key.span));
                        }
                    }
                }
                if !is_reference || field.is_empty() || !field.chars().all(is_plain) {
                    let what = format!(
                        "{:?} is no field with fieldref: write one such as Image|fieldref with first.TargetFilename as value",
                        key.text
                    );
                    return Err(problem(what).at(key.span));
                }
                let target = self.target(stage, value)?;
                let field = KeyField { field: field.to_owned(), span: key.span };
                self.add_reference(stage, field, target, is_cased, differs);
            }
        }
        Ok(())
    }

    /// `first.TargetFilename`: a stage before this one and its field.
    fn target(&self, stage: usize, value: &Node) -> Result<(usize, KeyField), At> {
        let wrong = |what: String| problem(what).at(value.span);
        let text = value.text().unwrap_or_default();
        let (name, field) = text.split_once('.').ok_or_else(|| {
            wrong("no stage is named here, with its name and a dot: write for example first.TargetFilename".to_owned())
        })?;
        let origin = self.names.iter().take(stage).position(|known| *known == name);
        let origin = origin.ok_or_else(|| wrong(format!("{name:?} is no stage before this one: correct the name")))?;
        if field.is_empty() || !field.chars().all(is_plain) {
            return Err(wrong(format!("{text:?} names no field: write {name}.Field")));
        }
        Ok((origin, KeyField { field: field.to_owned(), span: value.span }))
    }

    fn add_reference(
        &mut self,
        stage: usize,
        field: KeyField,
        (from, of): (usize, KeyField),
        is_cased: bool,
        differs: bool,
    ) {
        let origin = Some((from, of.field.clone(), is_cased));
        let is_open = |part: &Part| part.origin == origin && part.fields.get(stage).is_some_and(Option::is_none);
        let position = match self.parts.iter().position(is_open) {
            Some(position) => position,
            None => {
                let mut fields = vec![None; self.nodes.len()];
                if let Some(place) = fields.get_mut(from) {
                    *place = Some(of);
                }
                self.parts.push(Part { fields, origin });
                self.parts.len() - 1
            }
        };
        if let Some(place) = self.parts.get_mut(position).and_then(|part| part.fields.get_mut(stage)) {
            *place = Some(field);
        }
        if let Some(mask) = self.differs.get_mut(stage).filter(|_| differs) {
            *mask |= bit(position);
        }
    }

    /// How long the last stage must stay away, if it must.
    fn absent(&self) -> Result<Option<u64>, At> {
        let mut found = None;
        for (stage, node) in self.nodes.iter().enumerate() {
            let Some(absent) = node.get("absent") else { continue };
            if stage + 1 != self.nodes.len() {
                return Err(
                    problem("a stage is absent, and only the last stage can be: move it to the end").at(absent.span)
                );
            }
            found = Some(duration(absent, "absent")?);
        }
        Ok(found)
    }

    fn input(&self, stage: usize, (id, title): (&str, &str)) -> Result<Input, At> {
        let (Some(node), Some(name)) = (self.nodes.get(stage), self.names.get(stage)) else {
            return Err(problem("a stage is missing").at(0));
        };
        let Detection { selections, condition, uses } = detection(need(node, "detection")?, &[])?;
        let rule = Rule {
            id: format!("{id}#{name}"),
            title: format!("{title}: {name}"),
            level: None,
            tags: Vec::new(),
            author: None,
            logsource: logsource(need(node, "logsource")?)?,
            selections,
            condition,
            response: Response::default(),
            uses,
        };
        let fields: Vec<Option<KeyField>> =
            self.parts.iter().map(|part| part.fields.get(stage).cloned().flatten()).collect();
        let differs = self.differs.get(stage).copied().unwrap_or(0);
        let (mut joins, mut folds) = (0, 0);
        for (position, part) in self.parts.iter().enumerate() {
            let is_known = part.origin.as_ref().map_or(0, |(from, ..)| *from) < stage;
            if fields.get(position).is_some_and(Option::is_some) && is_known {
                joins |= bit(position) & !differs;
            }
            if part.origin.as_ref().is_some_and(|(.., is_cased)| !is_cased) {
                folds |= bit(position);
            }
        }
        Ok(Input {
            name: (*name).to_owned(),
            span: node.span,
            source: InputSource::Inline(Box::new(rule)),
            fields,
            value: None,
            joins,
            differs,
            folds,
        })
    }
}

fn bit(position: usize) -> u32 {
    u32::try_from(position).ok().and_then(|position| 1_u32.checked_shl(position)).unwrap_or(0)
}
