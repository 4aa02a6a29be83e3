//! What the package manager reaches by the network: every address by the ports that packages come by, and this machine's own,
//! where the resolver may be. All rules are judged together, because two halves are a whole.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{bail, Result};
use watertight_policy::vital::PACKAGE_MANAGER;
use watertight_policy::Target;

use super::super::entries::Resolved;

/// Ports that names are resolved and packages are fetched by.
const PORTS: [u16; 3] = [53, 80, 443];
/// Networks in which no repository is: this one, loopback, link-local, multicast, reserved.
const NO_PEERS: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// First and last address, IPv4 as it is looked up: mapped into IPv6.
type Range = (u128, u128);

fn range(address: IpAddr, prefix_bits: u8) -> Range {
    let (bits, prefix) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), u32::from(prefix_bits).saturating_add(96)),
        IpAddr::V6(v6) => (u128::from(v6), u32::from(prefix_bits)),
    };
    let rest = u128::MAX.checked_shr(prefix).unwrap_or(0);
    (bits & !rest, bits | rest)
}

/// Whether together they leave nothing of the whole.
fn is_covered(whole: Range, ranges: &mut [Range]) -> bool {
    ranges.sort_unstable();
    let mut next = whole.0;
    for (first, last) in ranges.iter() {
        if *first > next {
            return false;
        }
        if *last >= whole.1 {
            return true;
        }
        next = next.max(last.saturating_add(1));
    }
    false
}

/// Refuses rules that together leave no address to fetch packages from, or none of this machine's own.
///
/// # Errors
/// Names the rules.
pub fn refuse_if_unreachable(enforced: &[&Resolved]) -> Result<()> {
    let everything = range(Ipv4Addr::UNSPECIFIED.into(), 0);
    let own = range(Ipv4Addr::LOCALHOST.into(), 8);
    for port in PORTS {
        let mut rules = Vec::new();
        let mut ranges = Vec::new();
        for resolved in enforced {
            let Target::Address { address, prefix_bits, port: denied } = &resolved.rule.target else { continue };
            if denied.is_none_or(|denied| denied == port) {
                rules.push(resolved.rule.id.as_str());
                ranges.push(range(*address, *prefix_bits));
            }
        }
        let mend = "name networks, or another port";
        let denies_own = is_covered(own, &mut ranges);
        let denies_any = !ranges.is_empty();
        ranges.extend(NO_PEERS.map(|(address, prefix_bits)| range(address.into(), prefix_bits)));
        if denies_any && is_covered(everything, &mut ranges) {
            bail!(
                "rule {} would stop {PACKAGE_MANAGER}, which reaches its repositories over every address by port {port}: {mend}",
                rules.join(" with ")
            );
        }
        if port == 53 && denies_own {
            bail!(
                "rule {} would stop {PACKAGE_MANAGER}: it denies all of this machine's own addresses (127.0.0.0/8), where its resolver may be; {mend}",
                rules.join(" with ")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_found_wherever_it_is() {
        assert!(is_covered((10, 20), &mut [(15, 30), (0, 14)]));
        assert!(is_covered((10, 20), &mut [(0, 40), (12, 13)]));
        assert!(!is_covered((10, 20), &mut [(11, 30)]), "the first");
        assert!(!is_covered((10, 20), &mut [(0, 14), (16, 30)]), "the middle");
        assert!(!is_covered((10, 20), &mut [(0, 19)]), "the last");
        assert!(is_covered((5, u128::MAX), &mut [(0, u128::MAX)]));
        assert!(!is_covered((10, 20), &mut []));
    }

    #[test]
    fn a_range_is_all_addresses_with_the_same_leading_bits() {
        let mapped = |text: &str| u128::from(text.parse::<Ipv4Addr>().expect("an address").to_ipv6_mapped());
        assert_eq!(range("10.1.2.3".parse().expect("one"), 8), (mapped("10.0.0.0"), mapped("10.255.255.255")));
        assert_eq!(range("10.1.2.3".parse().expect("one"), 32), (mapped("10.1.2.3"), mapped("10.1.2.3")));
        assert_eq!(range("::".parse().expect("one"), 0), (0, u128::MAX));
        assert_eq!(range("::1".parse().expect("one"), 128), (1, 1));
    }
}
