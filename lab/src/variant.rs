//! Boots that differ by kernel parameters. Their tests are called `booted.<variant>.*` and run in no other boot.

use watertight_lab_guest::BOOTED;

/// A boot with parameters of its own.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// As in the names of its tests.
    pub name: &'static str,
    /// Kernel parameters beside the lab's own.
    pub kernel_args: &'static str,
}

const VARIANTS: [Variant; 2] = [
    // Debian's own list without bpf and landlock.
    Variant { name: "without_lsm", kernel_args: "lsm=lockdown,yama,loadpin,safesetid,integrity,apparmor" },
    Variant { name: "locked_down", kernel_args: "lockdown=confidentiality" },
];

/// The boots that a filter asks for; `None` is the plain one.
pub fn wanted(filter: &str) -> Vec<Option<&'static Variant>> {
    let parts: Vec<&str> = filter.split(',').collect();
    let is_of = |variant: &&Variant| {
        let names = format!("{BOOTED}{}.", variant.name);
        parts.iter().any(|part| names.starts_with(part) || part.starts_with(&names))
    };
    let mut boots: Vec<Option<&Variant>> = VARIANTS.iter().filter(is_of).map(Some).collect();
    if parts.iter().any(|part| !part.starts_with(BOOTED.trim_end_matches('.'))) {
        boots.insert(0, None);
    }
    boots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_boots_what_its_tests_need_and_nothing_else() {
        let names = |filter| -> Vec<&str> {
            wanted(filter).iter().map(|boot| boot.map_or("plain", |variant| variant.name)).collect()
        };
        assert_eq!(names(""), ["plain", "without_lsm", "locked_down"]);
        assert_eq!(names("product.exec"), ["plain"]);
        assert_eq!(names("booted"), ["without_lsm", "locked_down"]);
        assert_eq!(names("booted.locked_down.run"), ["locked_down"]);
        assert_eq!(names("booted.locked_down,product."), ["plain", "locked_down"]);
    }
}
