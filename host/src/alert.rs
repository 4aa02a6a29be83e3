//! An alert in the form that the run writes: natively, as an ECS document, or as a Detection Finding of OCSF. In both schemas it
//! is a document of its own that holds the whole event, so that a receiver needs nothing else.

use serde_json::{json, Map, Value as Json};
use watertight_engine::{Level, Response, Rule};
use watertight_event::{Event, Field, View};

use crate::worker::asks::Answer;

/// OCSF's Detection Finding, and its activity: a finding is made.
const DETECTION_FINDING: u32 = 2004;
const CREATE: u32 = 1;

/// What is told of a rule that fired.
pub(crate) struct Alert<'a> {
    pub(crate) event: &'a Event,
    pub(crate) rule: Rule<'a>,
    /// Field, its value, and the pattern that it fits.
    pub(crate) matches: &'a [(&'a str, &'a str, &'a str)],
    /// Executables, nearest first.
    pub(crate) ancestry: &'a [String],
    /// What became of the action that it demands; `None` where it demands none.
    pub(crate) answer: Option<Answer>,
}

/// The level as rules name it.
pub(crate) fn level_name(level: Option<Level>) -> &'static str {
    level.map_or("unknown", Level::name)
}

/// Both schemas count like this: 0 unknown, 1 informational, to 5 critical.
fn severity(level: Option<Level>) -> u32 {
    match level {
        None => 0,
        Some(Level::Informational) => 1,
        Some(Level::Low) => 2,
        Some(Level::Medium) => 3,
        Some(Level::High) => 4,
        Some(Level::Critical) => 5,
    }
}

/// What the rule demands beside the alert, and what became of that; `None` if nothing.
fn response(rule: Rule<'_>, answer: Option<Answer>) -> Option<Json> {
    let answer = answer?;
    let Response { action, is_enforced } = rule.response();
    let mode = if is_enforced { "enforce" } else { "audit" };
    let is_asked = answer == Answer::Asked;
    Some(json!({ "action": action.name(), "mode": mode, "is_asked": is_asked, "message": answer.words(action) }))
}

impl Alert<'_> {
    /// The alert beside events in this view. Sigma has no form for alerts: there they are native.
    pub(crate) fn render(&self, view: View) -> Json {
        match view {
            View::Native | View::Sigma => self.native(),
            View::Ecs => self.ecs(),
            View::Ocsf => self.ocsf(),
        }
    }

    /// The same with what led to a correlation.
    pub(crate) fn render_with(&self, view: View, correlation: &Json) -> Json {
        let mut alert = self.render(view);
        let place = match view {
            View::Native | View::Sigma => &mut alert,
            View::Ecs => &mut alert["watertight"],
            View::Ocsf => &mut alert["unmapped"],
        };
        place["correlation"] = correlation.clone();
        alert
    }

    fn native(&self) -> Json {
        let rule = self.rule;
        let tags: Vec<&str> = rule.tags().collect();
        let mut line = json!({
            "kind": "alert",
            "rule": {
                "id": rule.id(),
                "title": rule.title(),
                "level": level_name(rule.level()),
                "tags": tags,
                "author": rule.author(),
            },
            "matches": self.matches(),
            "ancestry": self.ancestry,
            "event": self.event.to_json(),
        });
        if let Some(response) = response(rule, self.answer) {
            line["response"] = response;
        }
        line
    }

    fn matches(&self) -> Json {
        let one = |(field, value, pattern): &(&str, &str, &str)| json!({ "field": field, "value": value, "pattern": pattern });
        self.matches.iter().map(one).collect()
    }

    /// The event's document, told as an alert.
    fn ecs(&self) -> Json {
        let (id, title, level) = (self.rule.id(), self.rule.title(), self.rule.level());
        let tags: Vec<&str> = self.rule.tags().collect();
        let mut document = View::Ecs.render(self.event);
        // A denial's own rule is the policy's.
        let of_policy = document.get("rule").cloned();
        document["event"]["kind"] = "alert".into();
        document["event"]["severity"] = severity(level).into();
        document["message"] = title.into();
        document["rule"] = json!({ "id": id, "name": title, "ruleset": "sigma" });
        document["tags"] = json!(tags);
        let techniques = techniques(&tags);
        let tactics = tactics(&tags);
        if !techniques.is_empty() || !tactics.is_empty() {
            let (whole, parts): (Vec<_>, Vec<_>) = techniques.into_iter().unzip();
            let mut technique = Map::from_iter([("id".to_owned(), json!(distinct(whole)))]);
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if !parts.is_empty() {
                technique.insert("subtechnique".to_owned(), json!({ "id": parts }));
            }
            document["threat"] =
                json!({ "framework": "MITRE ATT&CK", "tactic": { "name": tactics }, "technique": technique });
        }
        let own = &mut document["watertight"];
        own["level"] = level_name(level).into();
        own["matches"] = self.matches();
        own["ancestry"] = json!(self.ancestry);
        if let Some(rule) = of_policy {
            own["policy_rule"] = rule;
        }
        if let Some(response) = response(self.rule, self.answer) {
            own["response"] = response;
        }
        document
    }

    fn ocsf(&self) -> Json {
        let (id, title, level) = (self.rule.id(), self.rule.title(), self.rule.level());
        let tags: Vec<&str> = self.rule.tags().collect();
        let event = View::Ocsf.render(self.event);
        let attacks = techniques(&tags).into_iter().map(|(technique, part)| {
            let mut attack = json!({ "technique": { "uid": technique } });
            if let Some(part) = part {
                attack["sub_technique"] = json!({ "uid": part });
            }
            attack
        });
        let attacks: Vec<Json> =
            attacks.chain(tactics(&tags).into_iter().map(|name| json!({ "tactic": { "name": name } }))).collect();
        let parts = ["actor", "process", "file", "src_endpoint", "dst_endpoint", "connection_info"];
        let mut evidence: Map<String, Json> =
            parts.iter().filter_map(|part| Some(((*part).to_owned(), event.get(*part)?.clone()))).collect();
        evidence.insert("data".into(), event.clone());
        let time = event.get("time").cloned().unwrap_or_default();
        json!({
            "activity_id": CREATE,
            "category_uid": DETECTION_FINDING / 1000,
            "class_uid": DETECTION_FINDING,
            "type_uid": DETECTION_FINDING * 100 + CREATE,
            "time": time,
            "severity_id": severity(level),
            "status_id": 1, // new
            "message": title,
            "metadata": event.get("metadata"),
            "device": event.get("device"),
            "finding_info": {
                "uid": self.uid(),
                "title": title,
                "created_time": time,
                "analytic": { "type_id": 1, "uid": id, "name": title }, // a rule
                "attacks": attacks,
            },
            "evidences": [evidence],
            "unmapped": {
                "matches": self.matches(), "ancestry": self.ancestry, "rule_tags": tags, "response": response(self.rule, self.answer),
            },
        })
    }

    /// No other finding has it: a rule fires once on an event, and the kernel numbers events by processor.
    fn uid(&self) -> String {
        let (cpu, number) = self.event.sequence.unwrap_or_default();
        let pid = self.event.number(Field::Pid).unwrap_or(0);
        format!("{}-{}-{pid}-{cpu}-{number}", self.rule.id(), self.event.unix_ns)
    }
}

/// ATT&CK techniques that the tags name, each with its part where one is named: `attack.t1053.003` is T1053 and T1053.003.
fn techniques(tags: &[&str]) -> Vec<(String, Option<String>)> {
    let of = |tag: &&str| {
        let name = tag.strip_prefix("attack.")?;
        let is_technique = name.strip_prefix('t')?.starts_with(|letter: char| letter.is_ascii_digit());
        let name = is_technique.then(|| name.to_uppercase())?;
        Some(match name.split_once('.') {
            Some((whole, _)) => (whole.to_owned(), Some(name)),
            None => (name, None),
        })
    };
    tags.iter().filter_map(of).collect()
}

/// ATT&CK tactics that the tags name; software and groups begin with a letter and digits, as techniques do.
fn tactics<'t>(tags: &[&'t str]) -> Vec<&'t str> {
    let names = tags.iter().filter_map(|tag| tag.strip_prefix("attack."));
    names.filter(|name| !name.bytes().any(|byte| byte.is_ascii_digit())).collect()
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use watertight_content::sigma::{load_texts, Source};
    use watertight_engine::Image;
    use watertight_event::{Kind, Outcome, Source as EventSource};

    use super::*;
    use crate::worker::asks::Asks;

    const RULE: &str = "
title: Sudo policy written
id: 00000000-0000-4000-8000-000000000001
level: high
tags: [attack.privilege-escalation, attack.t1548.003, attack.t1548, attack.s0154]
logsource: {category: file_event, product: linux}
detection:
  selection:
    TargetFilename: /etc/sudoers
  condition: selection
";

    fn told(kind: Kind, view: View) -> Json {
        told_by(RULE, kind, view)
    }

    fn told_by(rule: &str, kind: Kind, view: View) -> Json {
        let image = load_texts([Source { file: "rule.yml", text: rule }]).image().expect("a rule");
        let rule = Image::open(&image).expect("compiled here").rule(0).expect("the only one");
        let mut event = Event::new(kind, Outcome::Denied, EventSource::BpfLsm, 1)
            .with(Field::Pid, 7_u64)
            .with(Field::Executable, "/usr/bin/tee")
            .with(Field::Path, "/etc/sudoers");
        if kind == Kind::PolicyDenied {
            event.set(Field::PolicyRule, "mines");
        }
        event.unix_ns = 1_763_726_400_123_456_789;
        event.sequence = Some((1, 9));
        let (matches, ancestry) =
            ([("TargetFilename", "/etc/sudoers", "/etc/sudoers")], ["/usr/bin/tee (7)".to_owned()]);
        let answer = Asks::default().ask(&event, rule);
        let alert = Alert { event: &event, rule, matches: &matches, ancestry: &ancestry, answer };
        alert.render(view)
    }

    #[test]
    fn an_alert_in_ecs_is_the_events_document_with_rule_and_techniques() {
        let alert = told(Kind::FileCreate, View::Ecs);
        assert_eq!((&alert["event"]["kind"], &alert["event"]["severity"]), (&json!("alert"), &json!(4)));
        assert_eq!(alert["event"]["action"], "file.create");
        assert_eq!(alert["file"]["path"], "/etc/sudoers");
        assert_eq!(alert["process"]["executable"], "/usr/bin/tee");
        let id = "00000000-0000-4000-8000-000000000001";
        assert_eq!(alert["rule"], json!({ "id": id, "name": "Sudo policy written", "ruleset": "sigma" }));
        let technique = json!({ "id": ["T1548"], "subtechnique": { "id": ["T1548.003"] } });
        assert_eq!(alert["threat"]["technique"], technique);
        assert_eq!(alert["threat"]["tactic"]["name"], json!(["privilege-escalation"]));
        assert_eq!(alert["watertight"]["matches"][0]["field"], "TargetFilename");
        assert_eq!(alert["watertight"]["ancestry"], json!(["/usr/bin/tee (7)"]));
    }

    #[test]
    fn an_alert_on_a_denial_names_both_rules() {
        let alert = told(Kind::PolicyDenied, View::Ecs);
        assert_eq!(alert["rule"]["name"], "Sudo policy written");
        assert_eq!(alert["watertight"]["policy_rule"]["id"], "mines");
    }

    #[test]
    fn an_alert_in_ocsf_is_a_detection_finding_with_the_event_as_evidence() {
        let alert = told(Kind::FileCreate, View::Ocsf);
        assert_eq!((&alert["class_uid"], &alert["type_uid"]), (&json!(2004), &json!(200_401)));
        assert_eq!((&alert["severity_id"], &alert["category_uid"]), (&json!(4), &json!(2)));
        assert_eq!(alert["finding_info"]["title"], "Sudo policy written");
        assert_eq!(alert["finding_info"]["uid"], "00000000-0000-4000-8000-000000000001-1763726400123456789-7-1-9");
        assert_eq!(alert["finding_info"]["attacks"][0]["sub_technique"]["uid"], "T1548.003");
        let evidence = &alert["evidences"][0];
        assert_eq!(evidence["file"]["path"], "/etc/sudoers");
        assert_eq!(evidence["actor"]["process"]["file"]["path"], "/usr/bin/tee");
        assert_eq!(evidence["data"]["class_uid"], 1001);
        for place in ["/metadata/version", "/metadata/product/name", "/time", "/device/hostname"] {
            assert!(alert.pointer(place).is_some_and(|value| !value.is_null()), "{place}");
        }
    }

    #[test]
    fn a_rule_in_audit_mode_says_in_every_form_what_it_would_have_done() {
        let rule = format!("{RULE}action: kill\nmode: audit\n");
        for (view, place) in
            [(View::Native, "/response"), (View::Ecs, "/watertight/response"), (View::Ocsf, "/unmapped/response")]
        {
            let alert = told_by(&rule, Kind::FileCreate, view);
            let expected = json!({ "action": "kill", "mode": "audit", "is_asked": false, "message": "would kill" });
            assert_eq!(alert.pointer(place), Some(&expected), "{view:?}");
            let alert = told(Kind::FileCreate, view);
            assert!(alert.pointer(place).is_none_or(Json::is_null), "{view:?}");
        }
    }

    #[test]
    fn a_rule_that_demands_what_the_owner_does_not_allow_says_what_it_would_have_done_and_why_it_was_not() {
        let rule = format!("{RULE}action: kill\nmode: enforce\n");
        let response = &told_by(&rule, Kind::FileCreate, View::Native)["response"];
        assert_eq!((&response["mode"], &response["is_asked"]), (&json!("enforce"), &json!(false)));
        let message = "would kill (not enforced: the run is without --enforce-actions kill)";
        assert_eq!(response["message"], message);
    }

    #[test]
    fn an_alert_beside_native_and_sigma_lines_is_native() {
        for view in [View::Native, View::Sigma] {
            let alert = told(Kind::FileCreate, view);
            assert_eq!((&alert["kind"], &alert["rule"]["level"]), (&json!("alert"), &json!("high")));
            assert_eq!(alert["event"]["file"]["path"], "/etc/sudoers");
        }
    }
}
