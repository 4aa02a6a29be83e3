//! Bytes of compiled rules: refused by name, or evaluated to an end like any other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watertight_engine::{Field, Fields, Image, LogSource, Scratch, Value};

/// An event whose every field has the same values.
struct Awkward;

impl Fields for Awkward {
    fn get<'e>(&'e self, _: Field<'_>, each: &mut dyn FnMut(Value<'e>)) {
        for value in [Value::Null, Value::Int(-1), Value::Bool(true), Value::Text(b"curl \xff | sh -enc 10.1.2.3")] {
            each(value);
        }
    }

    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>)) {
        self.get(Field { slot: 0, name: "x" }, &mut |value| each(Some(0), "x", value));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = Image::open(bytes) else { return };
    let mut scratch = Scratch::counting();
    let plan = image.plan(&LogSource { category: Some("process_creation"), product: Some("linux"), service: None });
    let mut hits = Vec::new();
    plan.evaluate(&Awkward, &mut scratch, &mut |rule| hits.push(rule));
    for rule in hits {
        assert!(plan.explain(rule, &Awkward, &mut scratch).is_some());
    }
});
