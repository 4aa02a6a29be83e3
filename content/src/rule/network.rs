//! Networks in CIDR notation, version 4 and 6.

use std::net::IpAddr;
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash is not an address.
    #[error("{text:?} does not begin with an IP address: write it as 10.0.0.0/8 or fc00::/7")]
    NoAddress {
        /// What was given.
        text: String,
    },
    /// The part after the slash is not a fitting number.
    #[error("{text:?} has no prefix length from 0 to {bits_max} after the slash")]
    NoPrefix {
        /// What was given.
        text: String,
        /// Bits in an address of this version.
        bits_max: u8,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::NoAddress { text: text.to_owned() })?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|bits| *bits <= bits_max)
                .ok_or_else(|| NetworkError::NoPrefix { text: text.to_owned(), bits_max })?,
        };
        Ok(Self { address, prefix_bits })
    }
}

impl Network {
    /// The bytes of the address, 4 or 16, and how many leading bits of them count.
    #[must_use]
    pub fn parts(&self) -> (Vec<u8>, u8) {
        let octets = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        (octets, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "ten/8", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
