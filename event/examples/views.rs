//! Prints one event of every kind in a view, with every field that it can carry, or with none: what a receiver has to be ready
//! for. `cargo run -p watertight-event --example views -- native|sigma|ecs|ocsf [bare]`

use std::net::{IpAddr, Ipv4Addr};

use watertight_event::{Event, Field, Kind, Outcome, Source, Text, Type, Value, View};

fn value_of(field: Field) -> Value {
    match field.value_type() {
        Type::Bool => Value::Bool(true),
        Type::Number => Value::Number(7),
        Type::Signed => Value::Signed(-7),
        Type::Text => Value::Text(Text::from("/some/text")),
        Type::List => Value::List(vec![Text::from("first"), Text::from("second")]),
        Type::Address => Value::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "native".into());
    let Some(view) = View::from_name(&name) else {
        eprintln!("{name:?} is no view: native, sigma, ecs or ocsf");
        std::process::exit(2);
    };
    let is_bare = std::env::args().nth(2).is_some_and(|word| word == "bare");
    for kind in Kind::ALL {
        let mut event = Event::new(*kind, Outcome::Done, Source::BpfLsm, 1);
        event.unix_ns = 1_763_726_400_123_456_789;
        let of_process = Field::ALL.iter().filter(|field| field.is_of_process());
        for field in of_process.chain(kind.fields()).filter(|_| !is_bare) {
            event.set(*field, value_of(*field));
        }
        println!("{}", view.render(&event));
    }
}
