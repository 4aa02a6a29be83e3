//! What the agent asks of the host that it is on. The command gives the real one; tests give others.

use std::fs;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use watertight_fleet_wire::checkin::{ContentPart, HostPart, ProtectionPart};
use watertight_fleet_wire::limits::NAME_BYTES_MAX;

/// What became of a look at the content repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetched {
    /// Content that was put on trial.
    pub installed: Vec<String>,
    /// Content that the host refused, and why.
    pub refused: Vec<(String, String)>,
    /// Nothing was installed, because somebody paused this host; what was recalled was taken out all the same.
    pub is_paused: bool,
    /// Why it was not looked at, or not to its end: it is tried again later.
    pub failed: Option<String>,
    /// Why the host refuses the director's document as a whole; the server is told.
    pub director_refused: Option<String>,
}

/// Who asks the director.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The host's id.
    pub host: String,
    /// Its ring.
    pub ring: String,
    /// Hosts like it.
    pub stratum: String,
}

/// A host, as every check-in asks it: it answers soon, and says that it does not know rather than late.
pub trait Machine {
    /// Which content runs, and whether somebody paused the host. What is the agent's to say (`director_refused`) is not looked at.
    fn content(&mut self) -> ContentPart;
    /// How well it is protected.
    fn protection(&mut self) -> ProtectionPart;
    /// Content that is in quarantine because its tries were used up though no trial came to an end, and why. As of when the content was
    /// asked.
    fn unended(&mut self) -> Vec<(String, String)>;
    /// Why content is in quarantine; `None` if it is not there.
    fn quarantined(&mut self, content: &str) -> Option<String>;
}

/// What brings content onto a host. It may take minutes: it is asked beside the check-ins.
pub trait Fetcher: Send {
    /// Fetches what the director wants, from the repository of the server, and installs it unless the host is paused.
    fn fetch(&mut self, asker: &Asker) -> Fetched;
}

/// What this host is; `kernel`, `distribution` and `workload` may be declared.
#[must_use]
pub fn this_host(kernel: Option<&str>, distribution: Option<&str>, workload: Option<&str>) -> HostPart {
    let word = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let unknown = || "unknown".to_owned();
    let kernel = kernel.map(str::to_owned).or_else(|| word("/proc/sys/kernel/osrelease").map(|told| line_of(&told)));
    HostPart {
        name: plain(&word("/proc/sys/kernel/hostname").unwrap_or_else(unknown)),
        kernel: plain(&kernel.unwrap_or_else(unknown)),
        distribution: plain(&distribution.map_or_else(|| distribution_of(&release), str::to_owned)),
        architecture: std::env::consts::ARCH.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: plain(workload.unwrap_or("any")),
    }
}

/// The kernel's boot id.
#[must_use]
pub fn boot_id() -> String {
    static TOLD: OnceLock<String> = OnceLock::new();
    // Once, because who gives up its rights can't read it again.
    let told = TOLD.get_or_init(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default());
    match told.trim() {
        "" => "unknown".to_owned(),
        id => id.to_owned(),
    }
}

/// `6.1.0-18-amd64` is of the line 6.1.
fn line_of(release: &str) -> String {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if !major.is_empty() && !minor.is_empty() => format!("{major}.{minor}"),
        _ => release.to_owned(),
    }
}

/// `debian-12`, out of `/etc/os-release`.
fn distribution_of(release: &str) -> String {
    let value = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    match (value("ID"), value("VERSION_ID")) {
        (Some(id), Some(version)) => format!("{id}-{version}"),
        (Some(id), None) => id,
        _ => "unknown".to_owned(),
    }
}

/// What may be in a name, and in a sentence that the server is told.
pub(crate) fn plain(text: &str) -> String {
    let mut name: String = text.chars().filter(|letter| !letter.is_control()).collect();
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_by_its_kernels_line_and_its_distribution() {
        assert_eq!(line_of("6.1.0-18-amd64"), "6.1");
        assert_eq!(line_of("odd"), "odd");
        assert_eq!(distribution_of("NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n"), "debian-12");
        assert_eq!(distribution_of("ID=arch\n"), "arch");
        assert_eq!(distribution_of(""), "unknown");
    }

    #[test]
    fn what_is_declared_stands_and_is_within_bounds() {
        let host = this_host(Some("5.10"), Some("rhel\u{1b}-8"), Some(&"x".repeat(999)));
        assert_eq!((host.kernel.as_str(), host.distribution.as_str()), ("5.10", "rhel-8"));
        assert_eq!(host.out_of_bounds(), None);
        assert!(host.stratum("early").starts_with("s-early-5-10-rhel-8-"), "{}", host.stratum("early"));
    }
}
