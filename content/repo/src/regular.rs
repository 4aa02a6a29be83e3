//! Regular files, and nothing else in the place of one: a pipe that nobody writes to is waited for without end, a device may never end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a file to read it; a link is followed.
///
/// # Errors
/// It can't be opened, or is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let refused = || io::Error::other("this is no regular file: copy what is in it to one");
    open_with(path, 0, OpenOptions::new().read(true), refused)
}

/// The same where only we make files: a link is none of ours.
///
/// # Errors
/// As [`open`].
pub fn open_own(path: &Path) -> io::Result<File> {
    open_with(path, libc::O_NOFOLLOW, OpenOptions::new().read(true), || refused(path))
}

/// The file, made if it is not there, to write to; what is in it stays.
///
/// # Errors
/// As [`open`].
pub fn make_own(path: &Path) -> io::Result<File> {
    let options = &mut OpenOptions::new();
    open_with(path, libc::O_NOFOLLOW, options.create(true).truncate(false).write(true), || refused(path))
}

fn open_with(path: &Path, flags: i32, options: &mut OpenOptions, refused: impl Fn() -> io::Error) -> io::Result<File> {
    // Some of what is no file can't even be opened: a socket, a pipe that nobody reads, a link.
    let is_other = || fs::symlink_metadata(path).is_ok_and(|there| !there.is_file());
    let file = options.custom_flags(libc::O_NONBLOCK | flags).open(path);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => error,
        _ if is_other() => refused(),
        _ => error,
    })?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(refused())
}

/// Whether something lies there that is neither a file nor a link.
#[must_use]
pub fn is_taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink())
}

/// By name, and with the mend.
#[must_use]
pub fn refused(path: &Path) -> io::Error {
    io::Error::other(format!("{} is no regular file: take away what was put in its place", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_by_name_and_not_waited_for() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo is there");
        assert!(made.success());
        fs::write(at("file"), "text").expect("a file");
        fs::create_dir(at("folder")).expect("a folder");
        std::os::unix::fs::symlink("file", at("link")).expect("a link");
        std::os::unix::fs::symlink("/dev/zero", at("device")).expect("a link");
        assert!(open(&at("file")).is_ok() && open_own(&at("file")).is_ok() && open(&at("link")).is_ok());
        let refused = [
            open(&at("pipe")),
            open_own(&at("pipe")),
            make_own(&at("pipe")),
            open(&at("folder")),
            make_own(&at("folder")),
            open_own(&at("link")),
            make_own(&at("link")),
            open(&at("device")),
        ];
        for (number, refused) in refused.into_iter().enumerate() {
            let error = refused.expect_err("no file");
            assert!(error.to_string().contains("is no regular file: "), "{number}: {error}");
        }
        assert_eq!(open(&at("none")).map_err(|error| error.kind()).err(), Some(io::ErrorKind::NotFound));
        assert!(is_taken(&at("pipe")) && !is_taken(&at("file")) && !is_taken(&at("link")) && !is_taken(&at("none")));
    }
}
