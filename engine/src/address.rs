//! Whether a text is an address within a network, version 4 and 6.

use std::net::IpAddr;

/// Whether the text is an address that begins with the network's first `prefix_bits`. A version 4 address written the version 6
/// way (`::ffff:10.0.0.1`) is the version 4 address.
pub(crate) fn is_within(network: &[u8], prefix_bits: u32, text: &[u8]) -> bool {
    let address: Option<IpAddr> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    address.is_some_and(|address| contains(network, prefix_bits, address))
}

fn contains(network: &[u8], prefix_bits: u32, address: IpAddr) -> bool {
    if let Ok(network) = <[u8; 4]>::try_from(network) {
        let version_4 = match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => address.to_ipv4_mapped(),
        };
        let differing = version_4.map(|address| u32::from_be_bytes(network) ^ u32::from(address));
        return differing.is_some_and(|differing| differing.leading_zeros() >= prefix_bits);
    }
    match (<[u8; 16]>::try_from(network), address) {
        (Ok(network), IpAddr::V6(address)) => {
            let differing = u128::from_be_bytes(network) ^ u128::from(address);
            differing.leading_zeros() >= prefix_bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let cases: [(&str, u32, &str, bool); 10] = [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("127.0.0.1", 32, "127.0.0.1", true),
            ("0.0.0.0", 0, "8.8.8.8", true),
            ("fc00::", 7, "fd12::1", true),
            ("fc00::", 7, "fe80::1", false),
            ("::1", 128, "::1", true),
            ("10.0.0.0", 8, "::ffff:10.1.2.3", true),
            ("::", 0, "10.1.2.3", false),
            ("10.0.0.0", 8, "not an address", false),
        ];
        for (network, prefix_bits, address, expected) in cases {
            let octets = match network.parse().expect("an address") {
                IpAddr::V4(network) => network.octets().to_vec(),
                IpAddr::V6(network) => network.octets().to_vec(),
            };
            let found = is_within(&octets, prefix_bits, address.as_bytes());
            assert_eq!(found, expected, "{address} in {network}/{prefix_bits}");
        }
    }
}
