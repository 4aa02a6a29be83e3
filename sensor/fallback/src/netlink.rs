//! The framing that both netlink sources share: a datagram holds messages, each with a 16-byte head.
//!
//! Head: length u32 (head included), type u16, flags u16, sequence u32, port u32. Messages start at multiples of four.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};

use crate::bytes::{padded_to_4, u16_at, u32_at};

pub(crate) const HEAD_BYTES: usize = 16;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
    pub body: &'a [u8],
}

/// A message whose length is wrong: nothing behind it in the datagram can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The messages of one datagram.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((message, rest)) = split(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        self.rest = rest;
        Some(Ok(message))
    }
}

fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let message =
        Message { kind: u16_at(bytes, 4)?, sequence: u32_at(bytes, 8)?, body: bytes.get(HEAD_BYTES..length)? };
    let rest = bytes.get(padded_to_4(length)?..).unwrap_or_default();
    Some((message, rest))
}

/// A message with its head, ready to send.
pub(crate) fn encode(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len().checked_add(HEAD_BYTES)?).ok()?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes()); // port: the kernel fills in ours
    bytes.extend(body);
    Some(bytes)
}

/// Opens a netlink socket of a protocol, subscribed to `groups`.
pub(crate) fn open(protocol: Protocol, groups: u32) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(protocol))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// One datagram from the kernel, or what kept us from it. A datagram of another process is an empty one.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    let (length, _, sender) = rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
    let is_kernel = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok()).is_some_and(|s| s.pid() == 0);
    Ok(if is_kernel { buffer.get(..length).unwrap_or_default() } else { &[] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_behind_their_padding() {
        let mut datagram = encode(3, 0, 1, b"odd").expect("small");
        datagram.push(0);
        datagram.extend(encode(4, 0, 2, b"next").expect("small"));
        let messages: Vec<_> = Messages::new(&datagram).collect();
        let expected = [
            Ok(Message { kind: 3, sequence: 1, body: b"odd".as_slice() }),
            Ok(Message { kind: 4, sequence: 2, body: b"next" }),
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn lengths_that_lie_end_the_datagram() {
        for length in [0_u32, 1, 15, 21, u32::MAX] {
            let mut datagram = encode(3, 0, 1, b"body").expect("small");
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Messages::new(&datagram).collect::<Vec<_>>(), [Err(Malformed)], "length {length}");
        }
        let whole = encode(3, 0, 1, b"body").expect("small");
        for length in 1..whole.len() {
            assert_eq!(Messages::new(&whole[..length]).collect::<Vec<_>>(), [Err(Malformed)], "cut at {length}");
        }
    }
}
