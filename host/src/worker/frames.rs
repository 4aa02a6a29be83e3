//! Messages over a pipe: a head in JSON, and bytes. Both sizes stand in front and are bounded, so that neither end makes more room than a
//! message may take, whatever the other says.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::Serialize;

/// Longest head: the answer to a fetch from a repository whose roles are as long as they may be.
pub const HEAD_BYTES_MAX: u64 = 16 << 20;
/// Most bytes behind it: a pack.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

/// Sends a message.
///
/// # Errors
/// Nobody takes it, or it is longer than a message may be.
pub fn send(to: &mut impl Write, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let (head_bytes, body_bytes) = (head.len() as u64, body.len() as u64);
    check(head_bytes, body_bytes)?;
    to.write_all(&[head_bytes.to_le_bytes(), body_bytes.to_le_bytes()].concat())?;
    to.write_all(&head)?;
    to.write_all(body)?;
    to.flush()
}

/// The next message; `None` where there are no more.
///
/// # Errors
/// It is cut, too long, or none that is known.
pub fn receive<H: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(H, Vec<u8>)>> {
    let mut sizes = [[0_u8; 8]; 2];
    let [head_bytes, body_bytes] = &mut sizes;
    match from.read(head_bytes.get_mut(..1).unwrap_or_default())? {
        0 => return Ok(None),
        _ => from.read_exact(head_bytes.get_mut(1..).unwrap_or_default())?,
    }
    from.read_exact(body_bytes)?;
    let [head_bytes, body_bytes] = sizes.map(u64::from_le_bytes);
    check(head_bytes, body_bytes)?;
    let head = serde_json::from_slice(&taken(from, head_bytes)?)?;
    Ok(Some((head, taken(from, body_bytes)?)))
}

fn check(head_bytes: u64, body_bytes: u64) -> io::Result<()> {
    if head_bytes > HEAD_BYTES_MAX || body_bytes > BODY_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {head_bytes} and {body_bytes} bytes is longer than any")));
    }
    Ok(())
}

/// Exactly so many bytes. Room is made as they come, not as they are told.
fn taken(from: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut taken = Vec::new();
    from.take(bytes).read_to_end(&mut taken)?;
    if (taken.len() as u64) < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received_and_then_there_is_no_more() {
        let mut pipe = Vec::new();
        send(&mut pipe, &"head", b"body").expect("memory");
        send(&mut pipe, &"next", b"").expect("memory");
        let mut from = pipe.as_slice();
        assert_eq!(receive::<String>(&mut from).expect("whole"), Some(("head".into(), b"body".to_vec())));
        assert_eq!(receive::<String>(&mut from).expect("whole"), Some(("next".into(), Vec::new())));
        assert_eq!(receive::<String>(&mut from).expect("whole"), None);
    }

    #[test]
    fn a_message_that_is_cut_too_long_or_another_is_refused() {
        let mut whole = Vec::new();
        send(&mut whole, &"head", b"body").expect("memory");
        for length in 1..whole.len() {
            assert!(receive::<String>(&mut &whole[..length]).is_err(), "{length} of its bytes");
        }
        let long = |head: u64, body: u64| [head.to_le_bytes(), body.to_le_bytes()].concat();
        assert!(receive::<String>(&mut long(HEAD_BYTES_MAX + 1, 0).as_slice()).is_err());
        assert!(receive::<String>(&mut long(1, u64::MAX).as_slice()).is_err());
        assert!(receive::<u64>(&mut whole.as_slice()).is_err(), "a text is no number");
        let most = usize::try_from(BODY_BYTES_MAX).expect("it fits");
        assert!(send(&mut Vec::new(), &"head", &vec![0; most + 1]).is_err());
    }
}
