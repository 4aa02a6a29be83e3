//! The request for a dump of sockets, and the parser of its answers (`inet_diag_msg`).
//!
//! Answer: family u8, state u8, timer u8, retransmissions u8, then the identity (source port and destination port in
//! network order, source 16 bytes, destination 16 bytes, interface u32, cookie u64), expires u32, receive queue u32, send
//! queue u32, uid u32, inode u32. An IPv4 address takes the first 4 of its 16 bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::bytes::{slice_at, u16_be_at, u32_at, u64_at, u8_at};
use crate::netlink::encode;
use crate::observed::{Family, Protocol, SocketState};

/// Message type of requests and answers (SOCK_DIAG_BY_FAMILY).
pub(super) const BY_FAMILY: u16 = 20;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: u8 = 2;
const TCP_SYN_RECV: u8 = 3;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
const TCP_NEW_SYN_RECV: u8 = 12;

/// NLM_F_REQUEST | NLM_F_DUMP.
const REQUEST_DUMP: u16 = 0x1 | 0x300;

/// A socket as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub family: Family,
    pub state: SocketState,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Names the socket for as long as the machine is up.
    pub cookie: u64,
    pub uid: u32,
    pub inode: u32,
}

/// Asks for every socket of a family and protocol, in every state: those that are closing tell of connections that came
/// and went between two polls.
pub(super) fn request(family: Family, protocol: Protocol, sequence: u32) -> Option<Vec<u8>> {
    let family = match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    };
    let protocol = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    };
    let mut body = vec![family, protocol, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend([0; 48]); // no particular socket
    encode(BY_FAMILY, REQUEST_DUMP, sequence, &body)
}

/// Parses one answer, or `None` when it is not a well-formed socket.
pub(super) fn parse(body: &[u8], protocol: Protocol) -> Option<Socket> {
    let family = match u8_at(body, 0)? {
        AF_INET => Family::V4,
        AF_INET6 => Family::V6,
        _ => return None,
    };
    Some(Socket {
        family,
        state: state(u8_at(body, 1)?, protocol),
        local: SocketAddr::new(address(body, 8, family)?, u16_be_at(body, 4)?),
        remote: SocketAddr::new(address(body, 24, family)?, u16_be_at(body, 6)?),
        cookie: u64_at(body, 44)?,
        uid: u32_at(body, 64)?,
        inode: u32_at(body, 68)?,
    })
}

fn address(body: &[u8], offset: usize, family: Family) -> Option<IpAddr> {
    let bytes = slice_at(body, offset, 16)?;
    Some(match family {
        Family::V4 => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
        Family::V6 => IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?)).to_canonical(),
    })
}

fn state(state: u8, protocol: Protocol) -> SocketState {
    match (protocol, state) {
        (_, TCP_ESTABLISHED) => SocketState::Established,
        (_, TCP_LISTEN) | (Protocol::Udp, TCP_CLOSE) => SocketState::Listening,
        (_, TCP_SYN_SENT | TCP_SYN_RECV | TCP_NEW_SYN_RECV) => SocketState::Opening,
        _ => SocketState::Closing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn answer(family: u8, state: u8) -> Vec<u8> {
        let mut body = vec![family, state, 0, 0];
        body.extend(80_u16.to_be_bytes());
        body.extend(40_000_u16.to_be_bytes());
        let mut mapped = [0; 16];
        if family == AF_INET {
            mapped[..4].copy_from_slice(&[127, 0, 0, 1]);
        } else {
            mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        }
        body.extend(mapped);
        body.extend(mapped);
        body.extend(0_u32.to_ne_bytes());
        body.extend(77_u64.to_ne_bytes());
        for number in [0_u32, 0, 0, 1000, 4242] {
            body.extend(number.to_ne_bytes());
        }
        body
    }

    #[test]
    fn a_socket_is_read() {
        let socket = parse(&answer(AF_INET, TCP_ESTABLISHED), Protocol::Tcp).expect("well formed");
        assert_eq!(socket.local, "127.0.0.1:80".parse().expect("an address"));
        assert_eq!(socket.remote, "127.0.0.1:40000".parse().expect("an address"));
        assert_eq!((socket.cookie, socket.uid, socket.inode), (77, 1000, 4242));
        assert_eq!(socket.state, SocketState::Established);
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_socket_is_shown_as_ipv4() {
        let socket = parse(&answer(AF_INET6, TCP_LISTEN), Protocol::Tcp).expect("well formed");
        assert_eq!(socket.family, Family::V6);
        assert_eq!(socket.local, "127.0.0.1:80".parse().expect("an address"));
    }

    #[test]
    fn an_unconnected_udp_socket_listens_and_a_closed_tcp_socket_does_not() {
        assert_eq!(state(TCP_CLOSE, Protocol::Udp), SocketState::Listening);
        assert_eq!(state(TCP_CLOSE, Protocol::Tcp), SocketState::Closing);
    }

    #[test]
    fn an_answer_cut_anywhere_is_none_and_not_a_panic() {
        let whole = answer(AF_INET6, TCP_ESTABLISHED);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length], Protocol::Tcp), None, "cut at {length}");
        }
        assert_eq!(parse(&answer(1, TCP_ESTABLISHED), Protocol::Tcp), None);
    }

    #[test]
    fn a_request_has_the_size_that_the_kernel_expects() {
        assert_eq!(request(Family::V6, Protocol::Udp, 1).expect("small").len(), 16 + 56);
    }
}
