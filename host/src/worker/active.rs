//! Rules together with the memory that they lie in.

use anyhow::{ensure, Result};

use super::fault;
use super::mapping::Mapping;
use super::protocol::Given;
use super::rules::{self, Rules};
use crate::output::RuleCounts;
use crate::slots::ContentId;

/// Content in force.
pub struct Active {
    /// Goes before the memory that it refers to.
    rules: Rules<'static>,
    /// What it is; `None` where there is none.
    given: Option<Given>,
    _memory: Memory,
}

/// Where an image lies. Its bytes stay where they are while this is moved.
enum Memory {
    None,
    Mapped { _mapping: Mapping },
    Copied { _bytes: Vec<u8> },
}

impl Active {
    /// No rules.
    pub fn none() -> Self {
        Self { rules: Rules::none(), given: None, _memory: Memory::None }
    }

    /// Content in memory that was handed over at the start.
    ///
    /// # Errors
    /// It is not the image that it is said to be.
    pub fn mapped(given: Given, mapping: Mapping) -> Result<Self> {
        let rules = ready(&given, mapping.bytes())?;
        mapping.let_go(); // every byte was read to be checked; few of them are looked at for most events
        Ok(Self { rules, given: Some(given), _memory: Memory::Mapped { _mapping: mapping } })
    }

    /// Content that came through the mailbox.
    ///
    /// # Errors
    /// It is not the image that it is said to be.
    pub fn copied(given: Given, bytes: Vec<u8>) -> Result<Self> {
        // What was handed over sealed was compared before. This was not sealed.
        ensure!(ContentId::of(&bytes).to_string() == given.digest, "the content has another digest than it was told");
        let rules = ready(&given, &bytes)?;
        Ok(Self { rules, given: Some(given), _memory: Memory::Copied { _bytes: bytes } })
    }

    /// To be asked about events.
    pub fn rules(&mut self) -> &mut Rules<'static> {
        &mut self.rules
    }

    /// Whether a correlation may fire without another event.
    pub fn is_waiting(&self) -> bool {
        self.rules.is_waiting()
    }

    /// What it is.
    pub fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    /// It is in another slot from now on.
    pub fn move_to(&mut self, slot: String) {
        if let Some(given) = &mut self.given {
            given.slot = slot;
        }
    }

    /// What it is called in the shared page; 0 where there is none.
    pub fn word(&self) -> u64 {
        self.given.as_ref().map_or(0, |given| given.word)
    }

    /// How many rules there are, and what became of the others.
    pub fn counts(&self) -> RuleCounts {
        let (refused, replaced) = self.given.as_ref().map_or((0, 0), |given| (given.refused, given.replaced));
        RuleCounts { in_force: self.rules.len(), refused, replaced }
    }
}

/// Rules over these bytes, which the caller keeps with them.
fn ready(given: &Given, bytes: &[u8]) -> Result<Rules<'static>> {
    fault::meet(&given.name);
    // SAFETY: `Active` alone holds these rules, keeps the bytes where they are as long as it lives, and drops the rules first;
    // it lends them for no longer than itself.
    let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
    Ok(Rules::of(rules::open(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::rules::load;

    #[test]
    fn content_with_another_digest_than_it_was_told_is_not_opened() {
        let image = load(&[]).expect("the shipped rules").image;
        let mut given = Given { digest: ContentId::of(&image).to_string(), ..Given::default() };
        let mut active = Active::copied(given.clone(), image.clone()).expect("it is the image");
        assert!(!active.rules().is_empty());
        given.digest = ContentId::of(b"other").to_string();
        assert!(Active::copied(given, image).is_err());
    }
}
