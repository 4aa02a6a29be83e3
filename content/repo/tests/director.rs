//! A director that is stolen, replayed, late or contradicts itself, against a host that checks each word by itself.

mod support;

use proptest::prelude::{any, prop, proptest};
use serde_json::{json, Value};
use support::{release, start, Desk, DAY_S};
use watertight_content_repo::client::ClientError;
use watertight_content_repo::director::{
    decide, fetch_plan, Decision, Hold, Host, Plan, Refusal, Seen, SeenError, SignedPlan, Verdict, BUCKETS,
};
use watertight_content_repo::publish::PublishError;
use watertight_content_repo::release::{signed_packs, ContentId, Release, SignedPack, Step};
use watertight_content_repo::store::{MemoryDisk, Store};
use watertight_content_repo::time::Moment;

fn host() -> Host {
    Host { id: "host-1".into(), stratum: "debian-12".into(), ring: "broad".into(), engine: 2, engine_oldest: 1 }
}

fn id(pack: &[u8]) -> String {
    ContentId::of(pack).to_string()
}

/// A plan that starts a pack on every host of the stratum.
fn plan(epoch: u64, content: &str) -> Value {
    json!({
        "format": 1, "epoch": epoch, "issued": start(), "lease_until": start().plus_s(DAY_S), "paused": false, "recall": [],
        "entries": [{
            "content": content,
            "cohort": { "ranges": [{ "stratum": "debian-12", "from": 0, "to": BUCKETS }] },
            "not_before": start(), "not_after": start().plus_s(DAY_S),
        }],
    })
}

/// The packs that a desk has signed, as a client sees them.
fn packs(desk: &Desk) -> Vec<SignedPack> {
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a good repository");
    signed_packs(&mut client, start()).expect("good packs")
}

/// The plan as keys of the name "director" signed it.
fn signed(plan: &Value) -> SignedPlan {
    SignedPlan::parse(plan.to_string().as_bytes(), "director").expect("a plan")
}

fn ask(plan: &Value, packs: &[SignedPack], seen: &mut Seen, now: Moment) -> Result<Verdict, Refusal> {
    decide(&signed(plan), packs, &host(), seen, now)
}

fn refused(plan: &Value, packs: &[SignedPack]) -> Refusal {
    let verdict = ask(plan, packs, &mut Seen::default(), start()).expect("the plan as a whole is good");
    assert_eq!(verdict.to_run(), []);
    let of_entry = verdict.decisions.into_values().filter_map(|decision| match decision {
        Decision::Refused(refusal) => Some(refusal),
        Decision::Run { .. } => None,
    });
    verdict.refused.into_iter().chain(of_entry).next().expect("a refusal by name")
}

/// A desk whose one pack says something else of itself.
fn desk_with(change: impl FnOnce(&mut Release)) -> Desk {
    let mut desk = Desk::new();
    let mut release = release("linux", 5);
    change(&mut release);
    desk.packs.push((release, b"pack five".to_vec()));
    desk.publish_first(start()).expect("a good repository");
    desk
}

#[test]
fn a_signed_plan_comes_through_the_repository_and_starts_a_signed_pack() {
    let mut desk = Desk::with_pack();
    desk.publish_plan(&plan(1, &id(b"pack one")), start()).expect("a good plan");
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a good repository");
    let packs = signed_packs(&mut client, start()).expect("good packs");
    let plan = fetch_plan(&mut client, start()).expect("no refusal").expect("there is one");
    let verdict = decide(&plan, &packs, &host(), &mut Seen::default(), start()).expect("a good plan");
    assert_eq!(verdict.to_run(), [ContentId::of(b"pack one")]);
}

#[test]
fn a_director_that_introduces_content_is_refused_by_name() {
    let desk = Desk::with_pack();
    let content = ContentId::of(b"malware");
    assert_eq!(refused(&plan(1, &content.to_string()), &packs(&desk)), Refusal::UnsignedContent { content });
}

#[test]
fn a_stolen_director_key_can_not_name_a_pack_of_its_own() {
    // The director signs a role that names a pack: it is published for nobody, because the role may only name `director/*`.
    let mut desk = Desk::with_pack();
    let document = watertight_content_repo::publish::Document::content(
        1,
        desk.expires(),
        &[(release("linux", 9), b"malware".to_vec())],
    )
    .expect("a release");
    let roles = [("director".to_owned(), desk.signed("director", document))].into();
    let publication =
        watertight_content_repo::publish::Publication { roles, files: vec![b"malware".to_vec()], ..desk.publication() };
    let outcome = watertight_content_repo::publish::publish(desk.folder.path(), &publication, desk.online(), start());
    assert!(matches!(outcome, Err(PublishError::Refused(ClientError::UnknownTarget { .. }))), "{outcome:?}");
    // A mirror that serves it anyway finds no client for it.
    desk.publish_plan(&plan(1, &id(b"pack one")), start()).expect("a good plan");
    let mirror = desk.mirror();
    let director = support::forge(&mirror.metadata("1.director.json"), &desk.keys["director"], |signed| {
        let target: Value = serde_json::from_slice::<Value>(&mirror.metadata("1.content.json")).expect("JSON")
            ["signed"]["targets"]["content/linux/1.pack"]
            .clone();
        signed["targets"]["content/linux/9.pack"] = target;
    });
    mirror.put_metadata("1.director.json", director);
    let mut client = desk.client(mirror);
    client.refresh(start()).expect("a good repository");
    assert_eq!(client.find("content/linux/9.pack", start()).expect("no refusal"), None);
    assert_eq!(signed_packs(&mut client, start()).expect("good packs").len(), 1);
}

#[test]
fn a_replay_of_an_older_epoch_is_refused() {
    let desk = Desk::with_pack();
    let (packs, mut seen) = (packs(&desk), Seen::default());
    ask(&plan(7, &id(b"pack one")), &packs, &mut seen, start()).expect("a good plan");
    let refused = ask(&plan(6, &id(b"pack one")), &packs, &mut seen, start());
    assert_eq!(refused, Err(Refusal::EpochWentBack { offered: 6, seen: 7 }));
    // The same plan again is no replay.
    ask(&plan(7, &id(b"pack one")), &packs, &mut seen, start()).expect("the same plan");
}

#[test]
fn epochs_that_a_thief_ran_up_end_with_his_keys() {
    let mut desk = Desk::with_pack();
    let mut seen = Seen::default();
    let refresh_and_decide = |desk: &Desk, seen: &mut Seen| {
        let mut client = desk.client(desk.mirror());
        client.refresh(start()).expect("a good repository");
        let packs = signed_packs(&mut client, start()).expect("good packs");
        let plan = fetch_plan(&mut client, start()).expect("no refusal").expect("there is one");
        decide(&plan, &packs, &host(), seen, start())
    };
    desk.publish_plan(&plan(u64::MAX, &id(b"pack one")), start()).expect("it is signed");
    refresh_and_decide(&desk, &mut seen).expect("it is signed");
    desk.publish_plan(&plan(2, &id(b"pack one")), start()).expect("a good plan");
    let refused = refresh_and_decide(&desk, &mut seen);
    assert_eq!(refused, Err(Refusal::EpochWentBack { offered: 2, seen: u64::MAX }));
    // Offline keys put another director in his place.
    desk.keys.insert("director", vec![watertight_content_repo::key::SigningKey::generate().expect("random bytes")]);
    desk.publish_targets_and_plan(2, &plan(3, &id(b"pack one")), start()).expect("good documents");
    let verdict = refresh_and_decide(&desk, &mut seen).expect("the new director's first word");
    assert_eq!((verdict.to_run().len(), seen.epoch), (1, 3));
}

#[test]
fn two_plans_of_one_epoch_are_refused() {
    let desk = Desk::with_pack();
    let (packs, mut seen) = (packs(&desk), Seen::default());
    let mut other = plan(7, &id(b"pack one"));
    ask(&other, &packs, &mut seen, start()).expect("a good plan");
    other["paused"] = true.into();
    assert_eq!(ask(&other, &packs, &mut seen, start()), Err(Refusal::EpochReused { epoch: 7 }));
}

#[test]
fn a_plan_whose_lease_is_over_starts_nothing_and_one_of_tomorrow_neither() {
    let desk = Desk::with_pack();
    let (packs, plan) = (packs(&desk), plan(1, &id(b"pack one")));
    let late = ask(&plan, &packs, &mut Seen::default(), start().plus_s(DAY_S + 1));
    assert_eq!(late, Err(Refusal::LeaseExpired { until: start().plus_s(DAY_S) }));
    let early = ask(&plan, &packs, &mut Seen::default(), start().plus_s(-3600));
    assert_eq!(early, Err(Refusal::FromTheFuture { issued: start() }));
}

#[test]
fn a_recall_holds_though_the_lease_is_over_and_for_good() {
    let desk = Desk::with_pack();
    let (packs, mut seen) = (packs(&desk), Seen::default());
    let content = ContentId::of(b"pack one");
    let mut recall = plan(1, &content.to_string());
    recall["recall"] = json!([content]);
    ask(&recall, &packs, &mut seen, start().plus_s(2 * DAY_S)).expect_err("the lease is over");
    assert!(seen.recalled.contains(&content));
    // As it does for a host whose clock is behind.
    let mut behind = Seen::default();
    ask(&recall, &packs, &mut behind, start().plus_s(-DAY_S)).expect_err("it is still to come");
    assert!(behind.recalled.contains(&content));
    // A later plan that starts it anew, without a word of the recall.
    let verdict = ask(&plan(2, &content.to_string()), &packs, &mut seen, start()).expect("a good plan");
    assert_eq!(verdict.decisions["linux"], Decision::Refused(Refusal::Recalled { content }));
    assert_eq!(verdict.recalled, [content]);
}

#[test]
fn nothing_starts_before_its_signed_time_whatever_the_director_says() {
    let desk = desk_with(|release| {
        release.rings.get_mut("broad").expect("a ring").earliest = start().plus_s(3600);
    });
    let content = ContentId::of(b"pack five");
    let refusal = refused(&plan(1, &content.to_string()), &packs(&desk));
    assert!(matches!(refusal, Refusal::OutsideSchedule { allowed_per_million: 0, .. }), "{refusal:?}");
}

#[test]
fn a_director_that_gives_it_to_everybody_at_once_reaches_the_signed_share_only() {
    let desk = desk_with(|release| {
        release.rings.get_mut("broad").expect("a ring").steps =
            vec![Step { after_h: 0, per_million: 100_000 }, Step { after_h: 4, per_million: 1_000_000 }];
    });
    let (packs, plan) = (packs(&desk), plan(1, &id(b"pack five")));
    let signed = signed(&plan);
    let started = |now| {
        let runs = |number: &u32| {
            let host = Host { id: format!("host-{number}"), ..host() };
            let verdict = decide(&signed, &packs, &host, &mut Seen::default(), now).expect("a good plan");
            !verdict.to_run().is_empty()
        };
        (0..2000).filter(runs).count()
    };
    // Of 2,000 hosts a tenth may have it: the spread is fixed by the names, so the count is too.
    let first = started(start());
    assert!((140..=260).contains(&first), "{first}");
    assert_eq!(started(start().plus_s(4 * 3600)), 2000);
}

#[test]
fn a_release_for_other_rings_engines_or_below_the_floor_is_refused_by_name() {
    let content = ContentId::of(b"pack five");
    let plan = plan(1, &content.to_string());
    let desk = desk_with(|release| release.rings = [("lab".to_owned(), release.rings["broad"].clone())].into());
    assert_eq!(refused(&plan, &packs(&desk)), Refusal::WrongRing { content, ring: "broad".into() });
    let desk = desk_with(|release| release.engine.min = 3);
    assert_eq!(refused(&plan, &packs(&desk)), Refusal::WrongEngine { content, min: 3, max: 3, engine: 2 });
    // Content for an older engine is taken as long as this one still reads it.
    let desk = desk_with(|release| (release.engine.min, release.engine.max) = (1, 1));
    let to_run = |engine_oldest| {
        let host = Host { engine_oldest, ..host() };
        let verdict = decide(&signed(&plan), &packs(&desk), &host, &mut Seen::default(), start());
        verdict.expect("the plan as a whole is good").to_run()
    };
    assert_eq!((to_run(1), to_run(2)), (vec![content], Vec::new()));
    // A later pack raises the floor: the director can't bring the hole back.
    let mut desk = desk_with(|_| {});
    let mut fixed = release("linux", 6);
    fixed.floor = 6;
    desk.packs.push((fixed, b"pack six".to_vec()));
    desk.publish_content(start());
    let refusal = refused(&plan, &packs(&desk));
    assert_eq!(refusal, Refusal::BelowFloor { content, name: "linux".into(), version: 5, floor: 6 });
}

#[test]
fn a_pause_starts_nothing_and_a_host_outside_the_cohort_holds() {
    let desk = Desk::with_pack();
    let packs = packs(&desk);
    let mut paused = plan(1, &id(b"pack one"));
    paused["paused"] = true.into();
    let verdict = ask(&paused, &packs, &mut Seen::default(), start()).expect("a good plan");
    assert_eq!((verdict.hold, verdict.to_run().len()), (Some(Hold::Paused), 0));
    for cohort in
        [json!({ "hosts": ["host-2"] }), json!({ "ranges": [{ "stratum": "fedora-42", "from": 0, "to": BUCKETS }] })]
    {
        let mut elsewhere = plan(1, &id(b"pack one"));
        elsewhere["entries"][0]["cohort"] = cohort;
        let verdict = ask(&elsewhere, &packs, &mut Seen::default(), start()).expect("a good plan");
        assert_eq!((verdict.hold, verdict.to_run().len()), (Some(Hold::NotChosen), 0));
    }
    let mut named = plan(1, &id(b"pack one"));
    named["entries"][0]["cohort"] = json!({ "hosts": ["host-1"] });
    assert_eq!(ask(&named, &packs, &mut Seen::default(), start()).expect("a good plan").to_run().len(), 1);
    // Its time is over, though its lease is not.
    named["entries"][0]["not_after"] = json!(start());
    let verdict = ask(&named, &packs, &mut Seen::default(), start().plus_s(1)).expect("a good plan");
    assert_eq!(verdict.hold, Some(Hold::NotChosen));
}

#[test]
fn a_plan_with_anything_unknown_missing_or_out_of_bounds_is_refused_whole() {
    let good = plan(1, &id(b"pack one"));
    let hosts: Vec<_> = (0..1001).map(|number| format!("host-{number}")).collect();
    let range = json!({ "stratum": "a", "from": 0, "to": 1 });
    let changes: [(&str, Value); 18] = [
        ("/format", json!(2)),
        ("/epoch", json!(0)),
        ("/epoch", json!(-1)),
        ("/epoch", serde_json::from_str("18446744073709551616").expect("a number")),
        ("/lease_until", json!(start())),
        ("/lease_until", json!(start().plus_s(8 * DAY_S))),
        ("/lease_until", json!("tomorrow")),
        ("/paused", json!("no")),
        ("/recall", json!(["00"])),
        ("/recall", json!("all")),
        ("/entries/0/content", json!("latest")),
        ("/entries/0/not_after", json!(start().plus_s(-1))),
        ("/entries/0/cohort", json!({})),
        ("/entries/0/cohort", json!({ "hosts": hosts })),
        ("/entries/0/cohort", json!({ "hosts": ["a\u{0}b"] })),
        ("/entries/0/cohort", json!({ "ranges": vec![range; 257] })),
        ("/entries/0/cohort", json!({ "ranges": [{ "stratum": "a", "from": 0, "to": BUCKETS + 1 }] })),
        ("/entries/0/cohort", json!({ "ranges": [{ "stratum": "a", "from": 5, "to": 5 }] })),
    ];
    for (pointer, value) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(Plan::parse(bad.to_string().as_bytes()).is_err(), "{pointer}: {bad}");
    }
    for place in ["", "/entries/0", "/entries/0/cohort/ranges/0"] {
        let mut unknown = good.clone();
        unknown.pointer_mut(place).expect(place)["urgent"] = true.into();
        assert!(Plan::parse(unknown.to_string().as_bytes()).is_err(), "{place}");
    }
    for key in good.as_object().expect("an object").keys() {
        let mut missing = good.clone();
        missing.as_object_mut().expect("an object").remove(key);
        assert!(Plan::parse(missing.to_string().as_bytes()).is_err(), "{key}");
    }
    assert!(Plan::parse(good.to_string().as_bytes()).is_ok());
}

#[test]
fn a_plan_that_is_no_plan_is_refused_though_the_director_signed_it() {
    let mut desk = Desk::with_pack();
    let mut bad = plan(1, &id(b"pack one"));
    bad["urgent"] = true.into();
    desk.publish_plan(&bad, start()).expect("a file is a file to the repository");
    let mut client = desk.client(desk.mirror());
    client.refresh(start()).expect("a good repository");
    let refused = fetch_plan(&mut client, start());
    assert!(matches!(&refused, Err(ClientError::Malformed { role, .. }) if role == "director"), "{refused:?}");
}

#[test]
fn an_epoch_that_the_disk_spoiled_is_unknown_and_not_the_first() {
    let store = Store::new(MemoryDisk::default());
    assert_eq!(Seen::read(&store).expect("there is none yet"), Seen::default());
    for bytes in [&b""[..], b"{}", b"null", &[0xff; 8]] {
        store.put("director-seen", bytes).expect("memory");
        assert!(matches!(Seen::read(&store), Err(SeenError::Malformed { .. })));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_plan_that_is_out_of_bounds_or_a_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = plan(1, &id(b"pack one")).to_string().into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(signed) = SignedPlan::parse(&bytes, "director") {
            assert!(signed.plan.check().is_ok());
            // Without a signed pack nothing runs, whatever the plan has become.
            if let Ok(verdict) = decide(&signed, &[], &host(), &mut Seen::default(), start()) {
                assert_eq!(verdict.to_run(), []);
            }
        }
    }
}
