//! The fields of each protobuf message and the protocol that they came with. Protobuf drops what it does not know without a word; here
//! it is refused, by message and number (names do not travel).

use prost::encoding::{decode_key, decode_varint, WireType};

use crate::protocol::Refused;

/// A message's name and fields.
pub(super) struct Fields {
    name: &'static str,
    fields: &'static [Field],
}

struct Field {
    tag: u32,
    since: u32,
    message: Option<&'static Fields>,
}

const fn plain(tag: u32) -> Field {
    Field { tag, since: 1, message: None }
}

const fn nested(tag: u32, message: &'static Fields) -> Field {
    Field { tag, since: 1, message: Some(message) }
}

pub(super) static BATCH: Fields = Fields { name: "Batch", fields: &[plain(1), plain(2), nested(3, &RECORD), plain(4)] };
static RECORD: Fields =
    Fields { name: "Record", fields: &[plain(1), plain(2), nested(3, &HEALTH), nested(4, &CRASH), nested(5, &ALERT)] };
static HEALTH: Fields = Fields { name: "Health", fields: &[plain(1), plain(2), plain(3), plain(4), plain(5)] };
static CRASH: Fields =
    Fields { name: "Crash", fields: &[plain(1), plain(2), plain(3), plain(4), plain(5), plain(6), plain(7)] };
static ALERT: Fields = Fields { name: "Alert", fields: &[plain(1), plain(2), plain(3), plain(4), plain(5)] };

/// Walks a message. The depth is that of the tables, never that of the bytes.
///
/// # Errors
/// A field is not in the table, came with a later protocol, or the bytes end within one.
pub(super) fn only_known(protocol: u32, bytes: &[u8], of: &Fields) -> Result<(), Refused> {
    let broken = || Refused::form(format!("{}: no protobuf", of.name));
    let mut rest = bytes;
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|_| broken())?;
        let known = of.fields.iter().find(|field| field.tag == tag && field.since <= protocol);
        let Some(field) = known else {
            return Err(Refused::form(format!("unknown field `{}.{tag}` in protocol {protocol}", of.name)));
        };
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(&mut rest).map_err(|_| broken())?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| broken())?;
                usize::try_from(length).map_err(|_| broken())?
            }
            WireType::StartGroup | WireType::EndGroup => return Err(broken()),
        };
        let (inner, after) = rest.split_at_checked(length).ok_or_else(broken)?;
        if let (Some(message), WireType::LengthDelimited) = (field.message, wire_type) {
            only_known(protocol, inner, message)?;
        }
        rest = after;
    }
    Ok(())
}
