//! What a policy would stop on any machine, by the names in it alone: the publisher's look at deny rules, long before a machine is
//! asked.
//!
//! The loader judges the same by identity on the machine itself, through every link and mount, and has the last word. This look is
//! coarser and needs no machine, so it can be taken where a pack is built for a fleet.

use std::net::IpAddr;
use std::path::Path;

use crate::vital::{candidates, BOOK_FOLDERS, LINKERS, PROGRAMS, PROGRAM_FOLDERS, RUN_FOLDERS};
use crate::vital::{Place, WRITTEN_FILES, WRITTEN_FOLDERS};
use crate::{Mode, Operation, Policy, Rule, Target};

/// A deny rule that machines could not be started or mended with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule} would stop {what}: {why}: take the rule out, or narrow what it matches")]
pub struct StopsByName {
    /// The rule's id.
    pub rule: String,
    /// The program, folder, file or network.
    pub what: String,
    /// What it is needed for.
    pub why: &'static str,
}

/// Folders with the libraries of programs, on machines of any kind.
const LIBRARY_FOLDERS: [&str; 9] = [
    "/lib",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/libexec",
];

/// What one gets to a machine with and becomes root by. An owner may deny it at home; a pack for a fleet may not.
const WAYS_IN: [&str; 11] =
    ["sshd", "sshd-session", "sshd-auth", "sudo", "su", "doas", "systemctl", "mount", "umount", "reboot", "shutdown"];

/// Folders of settings that things are started from, too.
const STARTED_FROM_ETC: [Place; 2] = [
    Place { path: "/etc/kernel", why: "what makes a new kernel bootable is started from it" },
    Place { path: "/etc/init.d", why: "services are started from it where there is no systemd" },
];

/// Networks with fewer leading bits than this are most of what there is: the internet of today is in `2000::/3`.
const NETWORK_BITS_MIN: u8 = 4;

/// Ports that names are resolved and mends are fetched over.
const MENDING_PORTS: [u16; 3] = [53, 80, 443];

/// Refuses a policy that names what machines are started and mended with. Rules that only audit stop nothing.
///
/// # Errors
/// The first rule that does.
pub fn refuse_vital_by_name(policy: &Policy) -> Result<(), StopsByName> {
    vital_by_name(policy).next().map_or(Ok(()), |(_, stops)| Err(stops))
}

/// Every rule that does, by its position.
pub(crate) fn vital_by_name(policy: &Policy) -> impl Iterator<Item = (usize, StopsByName)> + '_ {
    let enforced = policy.rules.iter().enumerate().filter(|(_, rule)| rule.mode == Mode::Enforce);
    enforced.filter_map(|(at, rule)| {
        let (what, why) = stopped_by(rule)?;
        Some((at, StopsByName { rule: rule.id.clone(), what, why }))
    })
}

fn stopped_by(rule: &Rule) -> Option<(String, &'static str)> {
    let is_started = rule.on.contains(&Operation::Exec);
    let is_changed = rule.on.iter().any(|on| matches!(on, Operation::Write | Operation::Unlink | Operation::Rename));
    let started = |path| if is_started { needed_to_start(path, &rule.target) } else { None };
    let changed = |path| if is_changed { needed_to_change(path, &rule.target) } else { None };
    match &rule.target {
        Target::File(path) | Target::Under(path) => {
            let why = started(path).or_else(|| changed(path))?;
            Some((path.display().to_string(), why))
        }
        Target::Address { address, prefix_bits, port } => {
            let is_mending = port.is_none_or(|port| MENDING_PORTS.contains(&port));
            let why = needed_to_connect(*address, *prefix_bits).filter(|_| is_mending)?;
            Some((format!("connections in {}", rule.target), why))
        }
        Target::Sha256(_) => None,
    }
}

/// Why a network must go on being reached, over all ports or over one that machines are mended by.
fn needed_to_connect(address: IpAddr, prefix_bits: u8) -> Option<&'static str> {
    const LOCAL: &str = "programs of one machine speak to one another there, and to what resolves names";
    const ALL: &str = "it is most of all networks, and nothing would bring a mend";
    const MAPPED_BITS: u8 = 96;
    let is_local = match address {
        // Either network may lie in the other.
        IpAddr::V4(four) => u32::from(four).leading_zeros_in_common(127 << 24) >= u32::from(prefix_bits.min(8)),
        IpAddr::V6(six) => u128::from(six).leading_zeros_in_common(1) >= u32::from(prefix_bits),
    };
    let bits = match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            let four = six.to_ipv4_mapped().map(IpAddr::V4)?;
            return needed_to_connect(four, prefix_bits.saturating_sub(MAPPED_BITS));
        }
        _ => prefix_bits,
    };
    match (bits < NETWORK_BITS_MIN, is_local) {
        (true, _) => Some(ALL),
        (false, true) => Some(LOCAL),
        (false, false) => None,
    }
}

/// Leading bits that two addresses have in common.
trait InCommon {
    fn leading_zeros_in_common(self, other: Self) -> u32;
}

impl InCommon for u32 {
    fn leading_zeros_in_common(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}

impl InCommon for u128 {
    fn leading_zeros_in_common(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}

/// Whether a file of this name is the program loader or the C library, which all programs are started through, under any of the names
/// that distributions give them.
fn is_of_every_program(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let begins = |start: &str| name.starts_with(start) && name.contains(".so");
    let is_there = path.parent().is_some_and(|folder| LIBRARY_FOLDERS.iter().any(|known| Path::new(known) == folder));
    is_there
        && ["ld-linux", "ld-musl", "ld-2.", "ld.so", "ld64.so", "libc.so", "libc-2.", "libc.musl"]
            .iter()
            .any(|start| begins(start))
}

/// Why a program must go on starting, or what lies in a folder.
fn needed_to_start(path: &Path, target: &Target) -> Option<&'static str> {
    if matches!(target, Target::Under(_)) {
        let is_above = |place: &str| Path::new(place).starts_with(path);
        let run = RUN_FOLDERS
            .iter()
            .chain(&STARTED_FROM_ETC)
            .find(|place| is_above(place.path) || path.starts_with(place.path));
        let has_programs = PROGRAM_FOLDERS.into_iter().chain(LINKERS).chain(LIBRARY_FOLDERS).any(is_above);
        return run
            .map(|place| place.why)
            .or(has_programs.then_some("programs that machines are mended with lie in it, or their libraries"));
    }
    if LINKERS.iter().any(|linker| Path::new(linker) == path) || is_of_every_program(path) {
        return Some("every program with libraries is started through it");
    }
    if WAYS_IN.iter().any(|name| candidates(name).any(|one| one == path)) || is_ssh(path) {
        return Some("one gets to a machine with it, becomes root, or starts services");
    }
    let vital = PROGRAMS.iter().filter(|programs| programs.what.is_some());
    let mut named = vital.filter(|programs| programs.names.iter().any(|name| candidates(name).any(|one| one == path)));
    named.next().map(|programs| programs.why)
}

/// The parts of sshd that lie elsewhere.
fn is_ssh(path: &Path) -> bool {
    ["/usr/lib/openssh", "/usr/libexec/openssh"].iter().any(|folder| path.starts_with(folder))
}

/// Why a file or folder must go on being written.
fn needed_to_change(path: &Path, target: &Target) -> Option<&'static str> {
    if matches!(target, Target::File(_)) {
        return WRITTEN_FILES.iter().find(|place| Path::new(place.path) == path).map(|place| place.why);
    }
    let is_above = |place: &str| Path::new(place).starts_with(path);
    let written = WRITTEN_FOLDERS.iter().chain(&WRITTEN_FILES).find(|place| is_above(place.path));
    let books = BOOK_FOLDERS.iter().find(|place| is_above(place.path) || path.starts_with(place.path));
    written.or(books).map(|place| place.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, VERSION};

    fn refused(on: &[Operation], target: Target, mode: Mode) -> Option<StopsByName> {
        let rule = Rule { id: "a".to_owned(), action: Action::Deny, on: on.to_vec(), target, mode };
        refuse_vital_by_name(&Policy { version: VERSION, fallback_deny: false, rules: vec![rule] }).err()
    }

    #[test]
    fn a_rule_that_names_what_machines_are_started_and_mended_with_is_refused() {
        for file in
            ["/sbin/init", "/usr/lib/systemd/systemd", "/bin/sh", "/usr/bin/dpkg", "/usr/bin/apt-get", "/usr/bin/rpm"]
        {
            let refused = refused(&[Operation::Exec], Target::File(file.into()), Mode::Enforce).expect(file);
            assert!(refused.to_string().contains(file) && refused.rule == "a", "{refused}");
        }
        for file in [
            "/lib64/ld-linux-x86-64.so.2",
            "/usr/lib64/ld-linux-x86-64.so.2",
            "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/ld-musl-x86_64.so.1",
            "/usr/sbin/sshd",
            "/usr/lib/openssh/sshd-session",
            "/usr/bin/sudo",
            "/bin/su",
            "/usr/bin/systemctl",
            "/bin/mount",
        ] {
            assert!(refused(&[Operation::Exec], Target::File(file.into()), Mode::Enforce).is_some(), "{file}");
        }
        for folder in ["/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/libexec"] {
            assert!(refused(&[Operation::Exec], Target::Under(folder.into()), Mode::Enforce).is_some(), "{folder}");
        }
        for under in [
            "/usr",
            "/usr/bin",
            "/bin",
            "/etc",
            "/etc/kernel/postinst.d",
            "/var/lib/dpkg",
            "/usr/lib/apt/methods",
            "/lib64",
        ] {
            assert!(refused(&[Operation::Exec], Target::Under(under.into()), Mode::Enforce).is_some(), "{under}");
        }
        for under in ["/etc", "/var/lib/dpkg/updates", "/var", "/usr/share"] {
            assert!(refused(&[Operation::Write], Target::Under(under.into()), Mode::Enforce).is_some(), "{under}");
        }
        assert!(refused(&[Operation::Unlink], Target::File("/dev/null".into()), Mode::Enforce).is_some());
    }

    #[test]
    fn a_rule_that_cuts_a_machine_off_from_itself_or_from_everything_is_refused() {
        let network = |address: &str, prefix_bits, port| {
            let address = address.parse().expect("an address");
            refused(&[Operation::Connect], Target::Address { address, prefix_bits, port }, Mode::Enforce)
        };
        for (address, bits, port) in [
            ("0.0.0.0", 0, None),
            ("::", 0, None),
            ("::", 0, Some(443)),
            ("0.0.0.0", 0, Some(53)),
            ("0.0.0.0", 1, None),
            ("128.0.0.0", 1, None),
            ("2000::", 3, None),
            ("127.0.0.0", 8, None),
            ("127.0.0.53", 32, None),
            ("126.0.0.0", 7, None),
            ("::1", 128, None),
            ("::ffff:0.0.0.0", 96, None),
            ("::ffff:127.0.0.0", 104, None),
        ] {
            let refused = network(address, bits, port).expect(address);
            assert!(refused.to_string().contains("would stop connections in"), "{refused}");
        }
        for (address, bits, port) in [
            ("10.0.0.0", 8, None),
            ("203.0.113.7", 32, None),
            ("2001:db8::", 32, None),
            ("0.0.0.0", 0, Some(4444)),
            ("127.0.0.1", 32, Some(4444)),
            ("::ffff:10.0.0.0", 104, None),
        ] {
            assert_eq!(network(address, bits, port), None, "{address}/{bits} {port:?}");
        }
    }

    #[test]
    fn a_rule_that_only_audits_or_names_something_else_is_not() {
        assert_eq!(refused(&[Operation::Exec], Target::File("/bin/sh".into()), Mode::Audit), None);
        assert_eq!(refused(&[Operation::Exec], Target::File("/opt/tools/sh".into()), Mode::Enforce), None);
        assert_eq!(refused(&[Operation::Exec], Target::Under("/opt".into()), Mode::Enforce), None);
        assert_eq!(refused(&[Operation::Write], Target::Under("/etc/ssh".into()), Mode::Enforce), None);
        assert_eq!(refused(&[Operation::Write], Target::File("/bin/sh".into()), Mode::Enforce), None);
    }
}
