//! Whether the canaries are events that this host can have: one with a field of nobody's proves a rule that can never fire.

use std::collections::BTreeMap;

use watertight_engine::{LogSource, Types};

use crate::error::{Named, PackError};
use crate::open::Pack;

impl Pack<'_> {
    /// Looks every field of every canary up in the types that this host's events have; canaries of events that it does not have at all
    /// are left to the self-test.
    ///
    /// # Errors
    /// A canary has a field that its class does not.
    pub fn check_canaries(&self, types: Types<'_>) -> Result<(), PackError> {
        // Looking one up walks the event table, and a pack may name a field a million times.
        let mut known: BTreeMap<(LogSource<'_>, &str), Option<u32>> = BTreeMap::new();
        for canary in self.canaries.iter() {
            for event in canary.events() {
                let logsource = event.logsource();
                for (field, _) in event.fields() {
                    let found = known.entry((logsource, field)).or_insert_with(|| types(&logsource, field));
                    if *found == Some(0) {
                        let parts = [logsource.category, logsource.product, logsource.service];
                        return Err(PackError::CanaryField {
                            canary: canary.name().to_owned(),
                            field: Named::of(field),
                            logsource: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}
