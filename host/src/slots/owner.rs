//! Whether nobody but root, or the user who runs this, can put content into the folder of slots: content decides what is seen, and what
//! is denied and killed. Who may write a folder above it can put another one in its place.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bits that let the group or everybody write.
const OTHERS_WRITE: u32 = 0o022;
/// In such a folder everybody renames and removes his own names alone.
const STICKY: u32 = 0o1000;

/// A folder that others can change.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Exposed {
    /// It is somebody else's.
    #[error("{path} belongs to user {uid}, who could put any content there: look at what lies in it, then `chown root {path}`, or name another folder by --state")]
    Owned {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others may write it.
    #[error("{path} may be written by others (mode {mode:04o}), who could put any content there: look at what lies in it, then `chmod go-w {path}`, or name another folder by --state")]
    Writable {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Looks at the folder and all above it, links resolved. One that is not there is nobody's.
///
/// # Errors
/// Somebody else can write one of them.
pub fn check(folder: &Path) -> Result<(), Exposed> {
    let real = match std::fs::canonicalize(folder) {
        Ok(real) => real,
        // What else may be wrong with it is told by whoever opens it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return Ok(()),
    };
    let own = rustix::process::geteuid().as_raw();
    for (path, is_above) in real.ancestors().zip(std::iter::once(false).chain(std::iter::repeat(true))) {
        let Ok(found) = std::fs::symlink_metadata(path) else { continue };
        judge(path, &found, own, is_above)?;
    }
    Ok(())
}

fn judge(path: &Path, found: &Metadata, own: u32, is_above: bool) -> Result<(), Exposed> {
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    if uid != 0 && uid != own {
        return Err(Exposed::Owned { path: path.to_owned(), uid });
    }
    let is_sticky = is_above && mode & STICKY != 0;
    if mode & OTHERS_WRITE != 0 && !is_sticky {
        return Err(Exposed::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_that_others_can_write_or_put_another_in_the_place_of_is_refused_with_a_mend() {
        let place = tempfile::tempdir().expect("a folder");
        let (above, folder) = (place.path().join("above"), place.path().join("above/slots"));
        std::fs::create_dir_all(&folder).expect("our own folder");
        let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
        assert_eq!(check(&folder), Ok(()));
        for wrong in [&folder, &above] {
            mode(wrong, 0o770);
            let refused = check(&folder).expect_err("the group may write it");
            assert!(refused.to_string().contains("chmod go-w"), "{refused}");
            mode(wrong, 0o700);
        }
        mode(&above, 0o1777);
        assert_eq!(check(&folder), Ok(()), "as in /tmp");
        mode(&folder, 0o1777);
        assert!(check(&folder).is_err(), "names are given in it");
        let found = std::fs::metadata(place.path()).expect("it is there");
        let refused = judge(place.path(), &found, found.uid().wrapping_add(1), false);
        assert!(rustix::process::geteuid().is_root() || matches!(refused, Err(Exposed::Owned { .. })));
        assert_eq!(check(&place.path().join("none")), Ok(()));
    }
}
