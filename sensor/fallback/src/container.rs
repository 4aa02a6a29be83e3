//! Which container a process is in, told from its control group's path.
//!
//! Container runtimes name the control group after the container: 64 hexadecimal digits in the last parts of the path. LXC and
//! systemd-nspawn take the name that the administrator gave. Anybody who may create control groups (root, or a user with delegation) can fake such a name; it says where a process
//! was put, not who put it there.

use std::fmt;

/// Digits of a container id: a SHA-256-sized random number in hexadecimal, in every runtime named below.
const ID_DIGITS: usize = 64;

/// Who started the container, as far as the control group's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// `docker-<id>.scope` or `/docker/<id>`.
    Docker,
    /// `cri-containerd-<id>.scope`.
    Containerd,
    /// `crio-<id>.scope`.
    Crio,
    /// `libpod-<id>.scope` (podman).
    Podman,
    /// `lxc.payload.<name>`, or `/lxc/<name>` of older versions.
    Lxc,
    /// `machine-<name>.scope` or `systemd-nspawn@<name>.service`.
    Nspawn,
    /// `/kubepods.../<id>`: Kubernetes, by a runtime that the name doesn't give.
    Kubernetes,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::Kubernetes => "kubernetes",
        })
    }
}

/// A container's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    id: String,
    runtime: Runtime,
}

impl Container {
    /// Reads the path of a control group. The innermost container wins where one runs inside another.
    #[must_use]
    pub fn from_cgroup_path(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        parts.iter().enumerate().rev().find_map(|(depth, part)| {
            let outer = parts.get(..depth)?;
            from_scope(part).or_else(|| from_folder(part, outer)).or_else(|| from_name(part, outer))
        })
    }

    /// The 64 digits; with LXC and systemd-nspawn, the name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who started it.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }
}

/// A systemd scope: `<prefix>-<id>.scope`.
fn from_scope(part: &str) -> Option<Container> {
    let (prefix, id) = part.strip_suffix(".scope")?.rsplit_once('-')?;
    let runtime = match prefix {
        "docker" => Runtime::Docker,
        "cri-containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::Crio,
        "libpod" => Runtime::Podman,
        _ => return None,
    };
    is_id(id).then(|| Container { id: id.to_owned(), runtime })
}

/// A bare folder named by the id, whose outer folders name the runtime.
fn from_folder(part: &str, outer: &[&str]) -> Option<Container> {
    let id = match (part.rsplit_once('-'), part.rsplit_once(':')) {
        (Some(("libpod" | "crio", id)), _) => id,
        // containerd with systemd's folders and without its driver: `<slice>:cri-containerd:<id>`.
        (_, Some((slice, id))) if slice.ends_with(":cri-containerd") => id,
        _ => part,
    };
    if !is_id(id) {
        return None;
    }
    let runtime = if part.starts_with("libpod-") {
        Runtime::Podman
    } else if part.starts_with("crio-") {
        Runtime::Crio
    } else if part.contains(":cri-containerd:") {
        Runtime::Containerd
    } else if outer.last() == Some(&"docker") {
        Runtime::Docker
    } else if outer.iter().any(|folder| folder.starts_with("kubepods")) {
        Runtime::Kubernetes
    } else {
        return None;
    };
    Some(Container { id: id.to_owned(), runtime })
}

/// A container that is called by a name: a whole machine in a container.
fn from_name(part: &str, outer: &[&str]) -> Option<Container> {
    let (runtime, name) = if let Some(name) = part.strip_prefix("lxc.payload.") {
        (Runtime::Lxc, name.to_owned())
    } else if matches!(outer, ["", "lxc" | "lxc.payload"]) {
        (Runtime::Lxc, part.to_owned())
    } else if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        (Runtime::Nspawn, unescaped(name))
    } else if let Some(name) = part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope")) {
        match unescaped(name) {
            // Virtual machines are registered in the same way.
            name if name.starts_with("qemu-") => return None,
            name => (Runtime::Nspawn, name),
        }
    } else {
        return None;
    };
    (!name.is_empty()).then_some(Container { id: name, runtime })
}

/// systemd writes what a unit's name can't hold as `\x` and two hexadecimal digits.
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if byte.is_ascii_graphic() => {
                text.push(char::from(byte));
                text.push_str(rest);
            }
            _ => {
                text.push_str("\\x");
                text.push_str(part);
            }
        }
    }
    text
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The control group path that says most in a `/proc/PID/cgroup`: version 2's line, unless that is the root and a
/// version 1 hierarchy (the named one first, which systemd keeps) says more.
pub(crate) fn cgroup_path(file: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> = file
        .lines()
        .filter_map(|line| {
            let (_number, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
        .collect();
    let unified = lines.iter().find(|(controllers, _)| controllers.is_empty());
    let named = lines.iter().find(|(controllers, path)| controllers.starts_with("name=") && *path != "/");
    let any = lines.iter().find(|(_, path)| *path != "/");
    let chosen = unified.filter(|(_, path)| *path != "/").or(named).or(any).or(unified).or(lines.first())?;
    Some(chosen.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn runtime_of(path: &str) -> Option<Runtime> {
        let container = Container::from_cgroup_path(path)?;
        assert_eq!(container.id(), ID);
        Some(container.runtime())
    }

    #[test]
    fn every_runtime_is_told_by_its_control_group() {
        assert_eq!(runtime_of(&format!("/system.slice/docker-{ID}.scope")), Some(Runtime::Docker));
        assert_eq!(runtime_of(&format!("/docker/{ID}")), Some(Runtime::Docker));
        assert_eq!(runtime_of(&format!("/docker/{ID}/init.scope")), Some(Runtime::Docker));
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
        assert_eq!(runtime_of(&format!("{pod}/cri-containerd-{ID}.scope")), Some(Runtime::Containerd));
        assert_eq!(runtime_of(&format!("{pod}/crio-{ID}.scope")), Some(Runtime::Crio));
        assert_eq!(runtime_of(&format!("/system.slice/nerdctl-{ID}.scope")), Some(Runtime::Containerd));
        let odd = format!("/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{ID}");
        assert_eq!(runtime_of(&odd), Some(Runtime::Containerd));
        assert_eq!(runtime_of(&format!("/machine.slice/libpod-{ID}.scope/container")), Some(Runtime::Podman));
        assert_eq!(runtime_of(&format!("/kubepods/burstable/pod1/{ID}")), Some(Runtime::Kubernetes));
    }

    #[test]
    fn machines_in_containers_are_told_by_their_names() {
        let of = |path: &str| Container::from_cgroup_path(path).map(|found| (found.runtime, found.id));
        assert_eq!(of("/lxc.payload.web1/init.scope"), Some((Runtime::Lxc, "web1".into())));
        assert_eq!(of("/lxc/web1"), Some((Runtime::Lxc, "web1".into())));
        assert_eq!(of("/machine.slice/systemd-nspawn@web1.service/payload"), Some((Runtime::Nspawn, "web1".into())));
        assert_eq!(of("/machine.slice/machine-web\\x2d1.scope"), Some((Runtime::Nspawn, "web-1".into())));
        assert_eq!(of("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope"), None);
        assert_eq!(of("/lxc.monitor.web1"), None);
        assert_eq!(of("/machine.slice/machine-.scope"), None);
        assert_eq!(unescaped("a\\xzz\\x"), "a\\xzz\\x");
    }

    #[test]
    fn a_name_that_only_looks_like_a_container_is_none() {
        assert_eq!(Container::from_cgroup_path("/user.slice/user-0.slice/session-1.scope"), None);
        assert_eq!(Container::from_cgroup_path(&format!("/user.slice/{ID}")), None);
        assert_eq!(Container::from_cgroup_path("/docker/0123"), None);
        assert_eq!(Container::from_cgroup_path(&format!("/docker/{}", ID.to_uppercase())), None);
        assert_eq!(Container::from_cgroup_path(&format!("/system.slice/crio-conmon-{ID}.scope")), None);
        assert_eq!(Container::from_cgroup_path(""), None);
    }

    #[test]
    fn a_container_in_a_container_is_the_inner_one() {
        let outer = ID.replace('0', "f");
        assert_eq!(runtime_of(&format!("/docker/{outer}/docker/{ID}")), Some(Runtime::Docker));
    }

    #[test]
    fn the_named_hierarchy_speaks_where_the_unified_one_is_only_the_root() {
        let hybrid = format!("9:name=systemd:/docker/{ID}\n8:cpu:/other\n0::/\n");
        assert_eq!(cgroup_path(&hybrid), Some(format!("/docker/{ID}")));
        assert_eq!(cgroup_path("0::/init.scope\n"), Some("/init.scope".into()));
        assert_eq!(cgroup_path("8:cpu:/\n0::/\n"), Some("/".into()));
        assert_eq!(cgroup_path("no colons\n"), None);
    }
}
