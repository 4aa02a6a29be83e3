//! The protocol's number: which fields a message may have, and how a side that is older by one is spoken to.
//!
//! Every request says in the header `watertight-protocol` in which number it is written and wants its answer; every answer says the
//! newest that the server knows. The server reads its own number and the one before. An agent begins with its own, goes down to the
//! server's if that is older, and tries its own again after the server's has grown. So the number travels with each message, nothing is
//! negotiated, no state can be lost, and each request may reach another server.
//!
//! A field that came with number N is left out by the writer and refused by the reader of a message in N-1: `Message::NEWER` is the one
//! table for both. Fields are only ever added; `NEWER` fields are optional to the reader.

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::Value;

/// What this build speaks.
pub const NEWEST: u32 = 1;
/// The oldest that it still understands: the one before, once there is one.
pub const OLDEST: u32 = 1;
/// What this build speaks, as a range.
pub const OURS: Speaks = Speaks { oldest: OLDEST, newest: NEWEST };
/// Names the number, in requests and answers.
pub const PROTOCOL_HEADER: &str = "watertight-protocol";

/// The numbers that a side speaks. Those of this build are [`OURS`]; with others it is tried how the next number comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaks {
    /// The oldest.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

impl Speaks {
    /// The number that a header says.
    ///
    /// # Errors
    /// It is missing, no number, or not spoken.
    pub fn spoken(self, header: Option<&str>) -> Result<u32, Refused> {
        let asked = header.unwrap_or("(none)");
        let number = asked.parse::<u32>().ok().filter(|number| (self.oldest..=self.newest).contains(number));
        number.ok_or_else(|| Refused::Protocol { asked: asked.chars().take(16).collect() })
    }

    /// In which number an agent writes to a server whose newest is known, or not yet.
    #[must_use]
    pub fn to_speak(self, server_newest: Option<u32>) -> u32 {
        server_newest.map_or(self.newest, |newest| newest.clamp(self.oldest, self.newest))
    }
}

/// A message in JSON.
pub trait Message: Serialize + DeserializeOwned {
    /// Fields that came later than protocol 1, with the number that they came with. Each has a default.
    const NEWER: &'static [(&'static str, u32)] = &[];
}

/// Why a message is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// The number is not spoken.
    #[error("protocol {asked} is not spoken here: {OLDEST} to {NEWEST} are")]
    Protocol {
        /// What the other side said.
        asked: String,
    },
    /// Too large.
    #[error("{size_bytes} bytes: at most {size_bytes_max} are read")]
    TooLarge {
        /// What came, or what was announced.
        size_bytes: usize,
        /// What is read.
        size_bytes_max: usize,
    },
    /// Unreadable, or a field is missing or unknown.
    #[error("{why}")]
    Form {
        /// What and where.
        why: String,
    },
}

impl Refused {
    pub(crate) fn form(why: impl Into<String>) -> Self {
        Self::Form { why: why.into() }
    }
}

/// The number that a header says. Without the header there is none: who speaks must say in what.
///
/// # Errors
/// It is missing, no number, or not spoken.
pub fn spoken(header: Option<&str>) -> Result<u32, Refused> {
    OURS.spoken(header)
}

/// Reads a message that is written in a protocol.
///
/// # Errors
/// It is too large, unreadable, or has a field that this protocol does not have.
pub fn read<M: Message>(protocol: u32, bytes: &[u8], size_bytes_max: usize) -> Result<M, Refused> {
    if bytes.len() > size_bytes_max {
        return Err(Refused::TooLarge { size_bytes: bytes.len(), size_bytes_max });
    }
    let form = |error: serde_json::Error| Refused::form(error.to_string());
    if M::NEWER.iter().all(|(_, since)| *since <= protocol) {
        return serde_json::from_slice(bytes).map_err(form);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(form)?;
    for (name, since) in M::NEWER.iter().filter(|(_, since)| *since > protocol) {
        if value.get(name).is_some() {
            return Err(Refused::form(format!(
                "unknown field `{name}`: it came with protocol {since}, this is {protocol}"
            )));
        }
    }
    serde_json::from_value(value).map_err(form)
}

/// Writes a message for a side that speaks a protocol: what it does not know is left out.
#[must_use]
pub fn write<M: Message>(protocol: u32, message: &M) -> Vec<u8> {
    // Plain structures of texts and numbers always have a JSON form.
    if M::NEWER.iter().all(|(_, since)| *since <= protocol) {
        return serde_json::to_vec(message).unwrap_or_default();
    }
    let mut value = serde_json::to_value(message).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !M::NEWER.iter().any(|(newer, since)| newer == name && *since > protocol));
    }
    serde_json::to_vec(&value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that got a field with protocol 2.
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Grown {
        old: u32,
        #[serde(default)]
        new: u32,
    }

    impl Message for Grown {
        const NEWER: &'static [(&'static str, u32)] = &[("new", 2)];
    }

    #[test]
    fn an_older_side_gets_no_field_that_it_does_not_know() {
        let message = Grown { old: 7, new: 9 };
        assert_eq!(write(1, &message), br#"{"old":7}"#);
        assert_eq!(write(2, &message), br#"{"old":7,"new":9}"#);
    }

    #[test]
    fn a_message_of_an_older_side_is_read_without_the_new_field() {
        assert_eq!(read::<Grown>(1, br#"{"old":7}"#, 99), Ok(Grown { old: 7, new: 0 }));
        assert_eq!(read::<Grown>(2, br#"{"old":7,"new":9}"#, 99), Ok(Grown { old: 7, new: 9 }));
    }

    #[test]
    fn a_field_is_refused_by_name_in_a_protocol_that_has_it_not() {
        for (protocol, text) in
            [(1, r#"{"old":7,"new":9}"#), (2, r#"{"old":7,"newer":9}"#), (1, r#"{"old":7,"newer":9}"#)]
        {
            let refused = read::<Grown>(protocol, text.as_bytes(), 99).expect_err("an unknown field");
            assert!(refused.to_string().contains("unknown field `new"), "{refused}");
        }
    }

    #[test]
    fn a_number_that_is_not_spoken_is_refused_and_the_agent_goes_down_to_the_servers() {
        assert_eq!(spoken(Some("1")), Ok(1));
        for bad in [None, Some(""), Some("0"), Some("2"), Some("one"), Some("99999999999999")] {
            assert!(matches!(spoken(bad), Err(Refused::Protocol { .. })), "{bad:?}");
        }
        let next = Speaks { oldest: 1, newest: 2 };
        assert_eq!([next.to_speak(None), next.to_speak(Some(1)), next.to_speak(Some(9))], [2, 1, 2]);
        assert_eq!(OURS.to_speak(Some(9)), NEWEST);
        assert_eq!((next.spoken(Some("2")), next.spoken(Some("1"))), (Ok(2), Ok(1)));
    }

    #[test]
    fn a_body_over_the_limit_is_not_parsed() {
        assert_eq!(read::<Grown>(1, br#"{"old":7}"#, 8), Err(Refused::TooLarge { size_bytes: 9, size_bytes_max: 8 }));
    }
}
