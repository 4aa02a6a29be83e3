//! What a rule matches: exactly one of file, under, sha256 and address, the last with a port if one is wanted.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use super::problem::{quoted, Problems};
use super::rules::{scalar, Map};
use super::tree::Node;
use crate::check::first_of;
use crate::{sha256, Target, PATH_BYTES_MAX};

const MATCH_KEYS: [&str; 5] = ["file", "under", "sha256", "address", "port"];
const ONE_OF: &str = "name one of file, under, sha256, address";

pub(super) fn target(node: &Node, problems: &mut Problems) -> Option<Target> {
    let map = Map::of(node, "a match", &MATCH_KEYS, problems)?;
    let mut matches =
        map.entries().iter().filter(|entry| entry.key != "port" && MATCH_KEYS.contains(&entry.key.as_str()));
    let first = matches.next();
    for other in matches {
        problems.add(
            other.place,
            "the match names more than one thing",
            "one too many",
            "write a rule for each: a rule does not mean \"both\"",
        );
    }
    let port = map.get("port").map(|node| (node, port(node, problems)));
    let Some(first) = first else {
        if map.entries().iter().any(|entry| !MATCH_KEYS.contains(&entry.key.as_str())) {
            return None; // told already: a key that is not known was meant
        }
        let (place, label) =
            port.as_ref().map_or((map.place(), "an empty match"), |(node, _)| (node.place, "a port alone"));
        problems.add(place, "the match names nothing", label, ONE_OF);
        return None;
    };
    if let (Some((node, _)), true) = (&port, first.key != "address") {
        let what = format!("port does not belong to a match by {}", first.key);
        problems.add(node.place, what, "without an address", "remove it, or match an address");
    }
    match first.key.as_str() {
        "file" => path("file", &first.value, problems).map(Target::File),
        "under" => path("under", &first.value, problems).map(Target::Under),
        "sha256" => digest(&first.value, problems),
        _ => {
            let (address, prefix_bits) = address(&first.value, problems)?;
            let port = match port {
                None => None,
                Some((_, port)) => Some(port?),
            };
            Some(Target::Address { address, prefix_bits, port })
        }
    }
}

fn path(key: &'static str, node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let text = scalar(key, "an absolute path", node, problems)?;
    let path = Path::new(text);
    let mut refuse = |what: &str, label: &str, mend: &str| {
        problems.add(node.place, format!("{key} {} {what}", quoted(text)), label, mend);
        None
    };
    if !path.is_absolute() {
        return refuse(
            "is not an absolute path",
            "does not begin with /",
            "begin with /; ~ and variables are not known",
        );
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return refuse("goes up with `..`", "has `..`", "write the path without it: links would change its meaning");
    }
    if text.len() > PATH_BYTES_MAX {
        return refuse("is longer than any path", "too long", "a path has at most 4,095 bytes");
    }
    if text.contains('\0') {
        return refuse("has a NUL character", "has a NUL", "no path has one: remove it");
    }
    if text.contains(['*', '?']) {
        return refuse("has a wildcard", "wildcards are not known", "name each file, or their folder with under");
    }
    let names: PathBuf = path.components().collect();
    if names == Path::new("/") {
        return refuse("is the whole machine", "too much", "name a file or a folder below /");
    }
    if key == "file" && text.ends_with('/') {
        return refuse("is a folder", "ends with /", "use under for everything in a folder");
    }
    Some(names)
}

fn digest(node: &Node, problems: &mut Problems) -> Option<Target> {
    let text = scalar("sha256", "64 hexadecimal digits", node, problems)?;
    let digest = sha256::from_hex(text);
    if digest.is_none() {
        problems.add(
            node.place,
            format!("{} is no SHA-256", quoted(text)),
            format!("{} characters", text.chars().count()),
            "write the 64 hexadecimal digits that `sha256sum FILE` prints",
        );
    }
    digest.map(Target::Sha256)
}

fn port(node: &Node, problems: &mut Problems) -> Option<u16> {
    let text = scalar("port", "a number from 1 to 65535", node, problems)?;
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port != 0 && is_digits);
    if port.is_none() {
        let mend = "write a number from 1 to 65535; for several ports write a rule for each";
        problems.add(node.place, format!("{} is no port", quoted(text)), "not a port", mend);
    }
    port
}

fn address(node: &Node, problems: &mut Problems) -> Option<(IpAddr, u8)> {
    let text = scalar("address", "an address or a range", node, problems)?;
    let (written, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let mut refuse = |what: &str, label: &str, mend: String| {
        problems.add(node.place, format!("{} {what}", quoted(text)), label, mend);
        None
    };
    let Ok(address) = written.parse::<IpAddr>() else {
        let mend = "write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32; names are not looked up".to_owned();
        return refuse("is no address", "not an address", mend);
    };
    if let IpAddr::V6(six) = address {
        if let Some(four) = six.to_ipv4_mapped() {
            let mend = format!("write {four}: that covers IPv6 sockets that reach it, too");
            return refuse("is an IPv4 address in IPv6 form", "IPv4 inside", mend);
        }
    }
    let bits_all: u8 = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else { return Some((address, bits_all)) };
    let is_digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let Some(bits) = prefix.parse::<u8>().ok().filter(|bits| is_digits && *bits <= bits_all) else {
        return refuse(
            "has no valid length after the /",
            "not a range",
            format!("write a number from 0 to {bits_all}"),
        );
    };
    let start = first_of(address, bits);
    if start != address {
        return refuse("is not the first address of its range", "bits beyond the /", format!("write {start}/{bits}"));
    }
    Some((address, bits))
}
