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
    /// Whether the text is an address within this network. A version 4 address written the version 6 way
    /// (`::ffff:10.0.0.1`) is the version 4 address.
    #[must_use]
    pub fn contains_text(&self, text: &[u8]) -> bool {
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).is_some_and(|address| self.contains(address))
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.leading_zeros() >= u32::from(self.prefix_bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.leading_zeros() >= u32::from(self.prefix_bits)
            }
            (IpAddr::V4(_), IpAddr::V6(address)) => {
                address.to_ipv4_mapped().is_some_and(|address| self.contains(IpAddr::V4(address)))
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let cases: [(&str, &str, bool); 10] = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("fc00::/7", "fd12::1", true),
            ("fc00::/7", "fe80::1", false),
            ("::1/128", "::1", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::/0", "10.1.2.3", false),
            ("10.0.0.0/8", "not an address", false),
        ];
        for (network, address, expected) in cases {
            let parsed: Network = network.parse().expect("a network");
            assert_eq!(parsed.contains_text(address.as_bytes()), expected, "{address} in {network}");
        }
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "ten/8", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
