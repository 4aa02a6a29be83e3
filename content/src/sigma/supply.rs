//! What this sensor's events look like to rules: which log sources, with which fields. Read off the event table, so that a
//! verdict can't speak of a sensor that is not there.

use super::verdict::{Supplied, Supply};
use watertight_event::{sigma_supply, sigma_types};

/// The log sources and fields that the sensor supplies.
#[must_use]
pub fn supply() -> Supply {
    let entries = sigma_supply().into_iter().map(|supplied| Supplied {
        category: Some(supplied.category.to_owned()),
        product: Some("linux".to_owned()),
        services: Vec::new(),
        types: supplied.fields.iter().filter_map(|field| types_of(supplied.category, field)).collect(),
        fields: supplied.fields.into_iter().map(str::to_owned).collect(),
    });
    Supply { entries: entries.collect() }
}

fn types_of(category: &str, field: &str) -> Option<(String, u32)> {
    Some((field.to_owned(), sigma_types(Some(category), field)?))
}
