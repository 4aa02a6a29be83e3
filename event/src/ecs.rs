//! The ECS 8 view: names come from the table, and what ECS says otherwise for some events is said here. What ECS has no name
//! for lies below `watertight` by its native name, so that nothing of an event is lost.

use std::borrow::Cow;

use serde_json::{json, Map, Value as Json};

use crate::json::value_to_json;
use crate::table::TRUNCATED;
use crate::view::{ending_signal, is_initiated, is_success, nest, rfc3339, tell_cuts};
use crate::{Event, Field};

/// The event in ECS.
pub(crate) fn render(event: &Event) -> Json {
    let (category, kind) = event.kind.ecs();
    let mut object = Map::new();
    object.insert("@timestamp".into(), rfc3339(event.unix_ns).into());
    nest(&mut object, "ecs.version", "8.17.0".into());
    nest(&mut object, "event.kind", "event".into());
    nest(&mut object, "event.category", json!([category]));
    nest(&mut object, "event.type", json!([kind]));
    nest(&mut object, "event.action", event.kind.native().into());
    nest(&mut object, "event.provider", event.source.name().into());
    let outcome = match is_success(event) {
        Some(true) => "success",
        Some(false) => "failure",
        None => "unknown",
    };
    nest(&mut object, "event.outcome", outcome.into());
    nest(&mut object, "watertight.outcome", event.outcome.name().into());
    nest(&mut object, "watertight.boot_ns", event.boot_ns.into());
    if let Some((cpu, number)) = event.sequence {
        nest(&mut object, "watertight.cpu", cpu.into());
        nest(&mut object, "event.sequence", number.into());
    }
    if let Some(is_initiated) = is_initiated(event) {
        nest(&mut object, "network.direction", if is_initiated { "egress" } else { "ingress" }.into());
    }
    let mut cut = Vec::new();
    for (field, value) in event.fields() {
        let place = place(event, field);
        if value.is_truncated() {
            cut.push(place.as_ref().into());
        }
        nest(&mut object, &place, value_to_json(value));
    }
    tell_cuts(&mut object, TRUNCATED.ecs, cut);
    Json::Object(object)
}

/// The dotted name of a field in this event.
fn place(event: &Event, field: Field) -> Cow<'static, str> {
    let is_inbound = is_initiated(event) == Some(false);
    match field {
        // The source of a connection is who opened it.
        Field::LocalAddress if is_inbound => Field::RemoteAddress.ecs().into(),
        Field::LocalPort if is_inbound => Field::RemotePort.ecs().into(),
        Field::RemoteAddress if is_inbound => Field::LocalAddress.ecs().into(),
        Field::RemotePort if is_inbound => Field::LocalPort.ecs().into(),
        // A process that a signal ended gave no code.
        Field::ExitCode if ending_signal(event).is_some() => own(field),
        _ if field.ecs().is_empty() => own(field),
        _ => field.ecs().into(),
    }
}

fn own(field: Field) -> Cow<'static, str> {
    format!("watertight.{}", field.native()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{every_field_once, pointer};
    use crate::{Kind, Outcome, Source, Value};

    #[test]
    fn every_field_of_every_kind_is_found_again_by_its_value() {
        for event in every_field_once() {
            let line = render(&event);
            let mut places = Vec::new();
            for (field, value) in event.fields() {
                let place = place(&event, field);
                let found = line.pointer(&pointer(&place));
                assert_eq!(found, Some(&value_to_json(value)), "{} {} at {place}", event.kind.native(), field.native());
                places.push(place);
            }
            places.sort();
            assert!(places.is_sorted_by(|left, right| left < right), "{}: a place twice", event.kind.native());
        }
    }

    fn exit(code: u64, signal: u64) -> Json {
        let event = Event::new(Kind::ProcessExit, Outcome::Done, Source::TpBtf, 1);
        render(&event.with(Field::ExitCode, code).with(Field::ExitSignal, signal))
    }

    #[test]
    fn a_process_that_was_killed_is_no_success_and_has_no_exit_code() {
        let killed = exit(0, 9);
        assert_eq!(killed["event"]["outcome"], "failure");
        assert_eq!(killed["watertight"]["exit"], json!({ "code": 0, "signal": 9 }));
        assert_eq!(killed.pointer("/process/exit_code"), None);
        let (well, badly) = (exit(0, 0), exit(1, 0));
        assert_eq!((&well["event"]["outcome"], &well["process"]["exit_code"]), (&json!("success"), &json!(0)));
        assert_eq!((&badly["event"]["outcome"], &badly["process"]["exit_code"]), (&json!("failure"), &json!(1)));
        let polled = Event::new(Kind::ProcessExit, Outcome::Done, Source::ProcPoll, 1);
        assert_eq!(render(&polled)["event"]["outcome"], "unknown");
    }

    #[test]
    fn a_refused_connection_is_no_success_and_a_loss_of_events_is_none() {
        let of = |kind| render(&Event::new(kind, Outcome::Done, Source::TpBtf, 1))["event"]["outcome"].clone();
        assert_eq!(of(Kind::NetworkFailed), "failure");
        assert_eq!(of(Kind::NetworkEstablished), "success");
        assert_eq!(of(Kind::SensorLoss), "unknown");
    }

    #[test]
    fn the_source_of_an_accepted_connection_is_the_peer() {
        let line = |is_initiated: bool| {
            let event = Event::new(Kind::NetworkAccept, Outcome::Done, Source::BpfLsm, 1)
                .with(Field::LocalAddress, Value::Address([10, 0, 0, 1].into()))
                .with(Field::LocalPort, 22_u64)
                .with(Field::RemoteAddress, Value::Address([10, 0, 0, 2].into()))
                .with(Field::RemotePort, 40_000_u64);
            render(&event.with(Field::IsInitiated, is_initiated))
        };
        let (local, peer) = (json!({ "ip": "10.0.0.1", "port": 22 }), json!({ "ip": "10.0.0.2", "port": 40_000 }));
        let (inbound, outbound) = (line(false), line(true));
        assert_eq!((&inbound["source"], &inbound["destination"]), (&peer, &local));
        assert_eq!((&outbound["source"], &outbound["destination"]), (&local, &peer));
        assert_eq!(inbound["network"]["direction"], "ingress");
        assert_eq!(outbound["network"]["direction"], "egress");
    }

    #[test]
    fn a_change_of_user_tells_the_new_one() {
        let event = Event::new(Kind::ProcessCredentials, Outcome::Attempted, Source::BpfLsm, 1)
            .with(Field::Uid, 1000_u64)
            .with(Field::NewUid, 0_u64);
        let line = render(&event);
        assert_eq!((&line["user"]["id"], &line["user"]["changes"]["id"]), (&json!(1000), &json!(0)));
    }
}
