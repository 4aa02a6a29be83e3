//! What happens to names and contents of files.

use super::{actions, number};
use rustix::fs::{mknodat, renameat_with, setxattr, FileType, Mode, OFlags, RenameFlags, XattrFlags, CWD};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{symlink as make_symlink, MetadataExt, PermissionsExt};

actions! {
    /// Creates a file that must not exist yet. Gives `inode`.
    "file.create" => create(path) {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(json!({ "inode": file.metadata()?.ino() }))
    }

    /// Creates and removes so many files in a folder, as fast as it can. Gives `files`.
    "file.storm" => storm(folder, files) {
        let files: u32 = number(files)?;
        for index in 0..files {
            let path = format!("{folder}/storm-{index}");
            fs::write(&path, "")?;
            fs::remove_file(&path)?;
        }
        Ok(json!({ "files": files }))
    }

    /// Opens an existing file for writing and appends a line.
    "file.write" => write(path) {
        OpenOptions::new().append(true).open(path)?.write_all(b"written\n")?;
        Ok(json!(null))
    }

    /// Reads a whole file. Gives `bytes`.
    "file.read" => read(path) {
        Ok(json!({ "bytes": fs::read(path)?.len() }))
    }

    /// Renames.
    "file.rename" => rename(from, to) {
        fs::rename(from, to)?;
        Ok(json!(null))
    }

    /// Makes two names change places.
    "file.exchange" => exchange(first, second) {
        renameat_with(CWD, first, CWD, second, RenameFlags::EXCHANGE)?;
        Ok(json!(null))
    }

    /// Removes a file's name.
    "file.unlink" => unlink(path) {
        fs::remove_file(path)?;
        Ok(json!(null))
    }

    /// Gives a file a second name.
    "file.link" => link(path, second) {
        fs::hard_link(path, second)?;
        Ok(json!(null))
    }

    /// Makes a symbolic link.
    "file.symlink" => symlink(target, path) {
        make_symlink(target, path)?;
        Ok(json!(null))
    }

    /// Makes a folder.
    "file.make_directory" => make_directory(path) {
        fs::create_dir(path)?;
        Ok(json!(null))
    }

    /// Removes an empty folder.
    "file.remove_directory" => remove_directory(path) {
        fs::remove_dir(path)?;
        Ok(json!(null))
    }

    /// Changes permissions; the mode is octal.
    "file.chmod" => chmod(path, mode) {
        let mode = u32::from_str_radix(mode, 8).map_err(std::io::Error::other)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(json!(null))
    }

    /// Changes the owner.
    "file.chown" => chown(path, uid) {
        std::os::unix::fs::chown(path, Some(number(uid)?), None)?;
        Ok(json!(null))
    }

    /// Sets an extended attribute; 6.1's tmpfs takes only `trusted.` and `security.` names.
    "file.set_xattr" => set_xattr(path, name, value) {
        setxattr(path, name, value.as_bytes(), XattrFlags::empty())?;
        Ok(json!(null))
    }

    /// Cuts a file to a length, by path.
    "file.truncate" => truncate(path, bytes) {
        let path = std::ffi::CString::new(path)?;
        // SAFETY: the path is a C string that lives through the call.
        super::check(i64::from(unsafe { libc::truncate(path.as_ptr(), number(bytes)?) }))?;
        Ok(json!(null))
    }

    /// Cuts an open file to a length.
    "file.truncate_open" => truncate_open(path, bytes) {
        OpenOptions::new().write(true).open(path)?.set_len(number(bytes)?)?;
        Ok(json!(null))
    }

    /// Makes a named pipe.
    "file.make_fifo" => make_fifo(path) {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        Ok(json!(null))
    }

    /// Opens a named pipe for both directions, which never waits.
    "file.open_fifo" => open_fifo(path) {
        rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        Ok(json!(null))
    }
}
