//! The guard's hooks, read back from the links that are pinned beside telemetry's folder, and the listener that denies where
//! the kernel takes no guard. Hooks without the maps that hold the policy are what is left of a guard, and deny nothing.

use std::path::Path;

use watertight_sensor_abi::GUARD_HOOKS;
use watertight_sensor_reader::read_link;

use crate::deny::store::Status as Deny;
use crate::guard::pinned_beside;

/// Maps without which hooks have no policy, and nobody is told of a verdict.
const NEEDED: [&str; 3] = ["wtg_policy", "wtg_counters", "wtg_verdicts"];

/// How many hooks deny, or which one is not what it should be. `None` if none is pinned.
#[must_use]
pub fn read_back(pins: &Path) -> Option<Result<usize, String>> {
    let build = match super::pinned_build(&pinned_beside(pins)) {
        Ok(build) => build?,
        Err(error) => return Some(Err(format!("{error:#}"))),
    };
    let is_there = |name: &&str| build.join(name).exists();
    if !["complete"].iter().chain(&NEEDED).all(is_there) {
        let what = "only what is left of a guard is pinned, after a load or an unseal that was cut short";
        return Some(Err(format!(
            "{what}: `watertight policy apply FILE` puts a whole one in its place, `watertight policy unseal` takes it away"
        )));
    }
    for hook in GUARD_HOOKS {
        let pin = build.join("links").join(hook.program());
        if let Err(error) = read_link(&pin, hook.program(), hook.class()) {
            return Some(Err(error.to_string()));
        }
    }
    Some(Ok(GUARD_HOOKS.len()))
}

/// How much the run's listener denies. What a file says of a process that is not there is not believed.
#[must_use]
pub fn listener(deny: Option<&Deny>, run: Option<u32>) -> Option<Result<usize, String>> {
    deny.map(|deny| match deny.pid {
        Some(pid) if run.is_some() && Path::new("/proc").join(pid.to_string()).exists() => Ok(deny.marks.len()),
        Some(_) => Err("the listener is gone".into()),
        None => Err(deny.why.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_is_gone_denies_nothing_whatever_its_file_says() {
        let own = Deny { pid: Some(std::process::id()), ..Deny::default() };
        assert_eq!(listener(Some(&own), Some(1)), Some(Ok(0)));
        assert!(matches!(listener(Some(&own), None), Some(Err(_))), "no run");
        let gone = Deny { pid: Some(u32::MAX), ..Deny::default() };
        assert!(matches!(listener(Some(&gone), Some(1)), Some(Err(_))));
        assert_eq!(listener(None, Some(1)), None);
    }

    #[test]
    fn without_pins_there_is_no_guard_and_a_link_that_is_none_is_not_taken_for_one() {
        let place = std::env::temp_dir().join(format!("watertight-guard-{}", std::process::id()));
        let pins = place.join("watertight");
        assert_eq!(read_back(&pins), None);
        let links = place.join("watertight-guard/build/links");
        std::fs::create_dir_all(&links).expect("a folder of our own");
        std::fs::write(links.join(GUARD_HOOKS.first().expect("hooks").program()), "a file").expect("our own");
        let remains = read_back(&pins).and_then(Result::err).expect("links alone are no guard");
        assert!(remains.contains("what is left of a guard"), "{remains}");
        std::fs::create_dir(place.join("watertight-guard/build/complete")).expect("our own");
        let remains = read_back(&pins).and_then(Result::err).expect("a guard has maps");
        assert!(remains.contains("what is left of a guard"), "{remains}");
        for map in NEEDED {
            std::fs::write(place.join("watertight-guard/build").join(map), "a file").expect("our own");
        }
        let no_link = read_back(&pins).and_then(Result::err).expect("a file is no link");
        assert!(!no_link.contains("what is left of a guard"), "{no_link}");
        std::fs::remove_dir_all(&place).expect("our own");
    }
}
