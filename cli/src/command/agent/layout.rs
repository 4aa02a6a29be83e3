//! What lies where in the agent's state folder: the uplink's own folder, which is all that it has of the file system, and beside it what is
//! none of its business.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _};
use rustix::fs::{flock, FlockOperation};
use watertight_fleet_agent::folder::Folder;
use watertight_fleet_agent::spool;
use watertight_fleet_wire::records::Stream;

/// Key, identity, what was acted on, and the spool.
const UPLINK: &str = "uplink";
/// Held by the agent whose folder it is.
const LOCK: &str = "agent.lock";
/// Records that wait, in it.
const SPOOL: &str = "spool";
/// What lay beside it before there was such a folder. The key before the identity, which is refused without it.
const BEFORE: [&str; 6] = ["host.key", "identity.json", "acted.json", "sequence.json", "watched.json", SPOOL];

/// The uplink's folder.
pub(super) fn uplink(state: &Path) -> PathBuf {
    state.join(UPLINK)
}

/// The spool.
///
/// # Errors
/// It can't be made.
pub(super) fn spool(state: &Path) -> anyhow::Result<Folder> {
    Ok(super::folder(&uplink(state))?.folder(SPOOL)?)
}

/// Makes the state folder this agent's alone, for as long as what is given is held: a second one would take the uplink's folder from the
/// first, and the host be a clone of itself.
///
/// # Errors
/// Another agent has it, or the disk says no.
pub(super) fn claim(state: &Path) -> anyhow::Result<File> {
    super::folder(state)?;
    let path = state.join(LOCK);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&path).with_context(|| path.display().to_string())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder); // without it the message only lacks the number
        let (state, holder) = (state.display(), holder.trim());
        bail!("another agent is at work in {state}: process {holder} (one host has one agent; name another folder by --state to try a second)");
    }
    let number = format!("{:<10}", std::process::id());
    let _ = file.write_all_at(number.as_bytes(), 0); // on a full disk it is held all the same, and nobody is told by whom
    Ok(file)
}

/// Makes the uplink's folder with all folders in it, and moves there what lay beside it before. To be called while no part is at work.
///
/// # Errors
/// The disk says no.
pub(super) fn prepare(state: &Path) -> anyhow::Result<()> {
    super::folder(state)?;
    let own = uplink(state);
    // What is behind a link would be given to the uplink's user.
    let is_link = own.symlink_metadata().is_ok_and(|found| found.is_symlink());
    anyhow::ensure!(!is_link, "{}: is a link: remove it, and the agent makes a folder of its own there", own.display());
    super::folder(&own)?;
    let mut is_moved = false;
    for name in BEFORE {
        let (from, to) = (state.join(name), own.join(name));
        if from.symlink_metadata().is_ok() && !(name == SPOOL && to.exists()) {
            fs::rename(&from, &to).with_context(|| format!("moving {} to {}", from.display(), own.display()))?;
            is_moved = true;
        }
    }
    if is_moved {
        for folder in [&own, state] {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.with_context(|| folder.display().to_string())?;
        }
    }
    let spool = spool(state)?;
    for stream in [Stream::Crash, Stream::Health, Stream::Alert] {
        spool.folder(spool::name(stream))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_who_the_first_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = claim(dir.path()).expect("nobody has it");
        let refused = claim(dir.path()).expect_err("the first has it").to_string();
        assert!(refused.contains(&format!("process {} ", std::process::id())), "{refused}");
        drop(first);
        claim(dir.path()).expect("the first is gone");
    }

    #[test]
    fn a_link_in_the_place_of_the_uplinks_folder_gives_nothing_away() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("elsewhere")).expect("a folder");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join(UPLINK)).expect("a link");
        let refused = prepare(dir.path()).expect_err("it is a link");
        assert!(refused.to_string().contains("is a link"), "{refused}");
        assert_eq!(fs::read_dir(dir.path().join("elsewhere")).expect("a folder").count(), 0);
    }

    #[test]
    fn what_the_version_before_left_is_moved_once_also_where_it_was_cut_short() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path();
        for name in ["host.key", "identity.json", "pause.json"] {
            fs::write(state.join(name), name).expect("a file");
        }
        fs::create_dir_all(state.join("spool/alert")).expect("a folder");
        fs::write(state.join("spool/alert/one.batch"), "").expect("a file");
        fs::create_dir(state.join(UPLINK)).expect("a folder");
        fs::rename(state.join("host.key"), state.join("uplink/host.key")).expect("as far as it came");
        for _ in 0..2 {
            prepare(state).expect("moved");
            for name in ["host.key", "identity.json"] {
                assert_eq!(fs::read_to_string(uplink(state).join(name)).expect("there"), name);
                assert!(!state.join(name).exists());
            }
            assert!(state.join("pause.json").exists(), "that is people's");
            assert!(state.join("uplink/spool/alert/one.batch").exists() && !state.join("spool").exists());
            assert!(state.join("uplink/spool/crash").is_dir());
        }
    }
}
