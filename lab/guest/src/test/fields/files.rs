//! Processes and files: what is done, and what its event must hold.

use super::{at, identity, with, Script, PLACE};
use crate::action::{file, process};
use anyhow::Result;
use serde_json::{json, Value};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Does it all, and notes what must be told of it.
pub fn script(script: &mut Script) -> Result<()> {
    starts(script)?;
    ends(script)?;
    credentials(script)?;
    names(script)?;
    special_files(script)?;
    attributes(script)
}

fn starts(script: &mut Script) -> Result<()> {
    let fork = process::fork()?;
    let child = fork.number("child")?;
    script.traced(
        "task_fork",
        "process.fork",
        fork,
        vec![("/child/pid", child.into()), ("/child/tid", child.into()), ("/child/id", Value::Null)],
    );
    let inode = fs::metadata("/bin/true")?.ino();
    script.traced(
        "task_exec",
        "process.exec",
        process::exec_many("wt-fields", "2")?,
        vec![
            ("/process/name", "true".into()),
            ("/process/executable", "/bin/true".into()),
            ("/process/executable_inode", inode.into()),
            ("/process/executable_dev", Value::Null),
            ("/process/executable_generation", Value::Null),
            ("/process/is_memfd", false.into()),
            ("/process/is_deleted", false.into()),
            ("/process/tid", Value::Null),
            ("/process/argv", json!(["/bin/true", "wt-fields-0", "wt-fields-1"])),
            ("/process/argv_bytes", ("/bin/true".len() + 2 * "wt-fields-0".len() + 3).into()),
            ("/process/command_line", "/bin/true wt-fields-0 wt-fields-1".into()),
        ],
    );
    let shell = fs::canonicalize("/bin/sh")?;
    script.traced(
        "task_exec_script",
        "process.exec",
        process::exec(&at("script"), "x")?,
        vec![
            ("/process/name", "script".into()),
            ("/process/executable", shell.to_string_lossy().into()),
            ("/process/interpreter", "/bin/sh".into()),
            ("/process/executable_inode", fs::metadata(&shell)?.ino().into()),
            ("/process/argv", json!(["/bin/sh", at("script"), "x"])),
        ],
    );
    Ok(())
}

fn ends(script: &mut Script) -> Result<()> {
    let exit = process::exit_with("41")?;
    script.traced("task_exit", "process.exit", exit, vec![("/exit/code", 41.into()), ("/exit/signal", 0.into())]);
    let killed = process::exit_by_signal("9")?;
    script.traced(
        "task_exit_by_signal",
        "process.exit",
        killed,
        vec![("/exit/code", 0.into()), ("/exit/signal", 9.into())],
    );
    Ok(())
}

fn credentials(script: &mut Script) -> Result<()> {
    script.lsm(
        "task_fix_setuid",
        "process.credentials",
        process::set_uid("65534")?,
        vec![
            ("/new/uid", 65534.into()),
            ("/new/gid", 0.into()),
            ("/new/euid", 65534.into()),
            ("/new/egid", 0.into()),
            ("/new/capabilities", Value::Null),
            ("/operations", json!(["setuid"])),
        ],
    );
    script.lsm("capset", "process.capset", process::drop_capabilities()?, vec![("/new/capabilities", 0.into())]);
    let unshared = process::new_user_namespace()?;
    script.lsm("userns_create", "process.userns_create", unshared, vec![("/operations", json!(["userns_create"]))]);
    Ok(())
}

fn names(script: &mut Script) -> Result<()> {
    let [first, second, third] = ["a", "b", "c"].map(at);
    script.lsm(
        "file_mknod",
        "file.create",
        file::create(&first)?,
        vec![
            ("/file/path", first.clone().into()),
            device()?,
            ("/file/type", "file".into()),
            ("/file/mode", Value::Null),
        ],
    );
    let of_file = identity(&first)?;
    let is_file = ("/file/type", json!("file"));
    script.lsm(
        "file_open",
        "file.open_write",
        file::write(&first)?,
        with(
            of_file.clone(),
            &[
                ("/file/path", first.clone().into()),
                is_file.clone(),
                ("/file/open_flags", Value::Null),
                ("/file/mode", Value::Null),
            ],
        ),
    );
    script.lsm(
        "file_rename",
        "file.rename",
        file::rename(&first, &second)?,
        with(
            of_file.clone(),
            &[("/file/old_path", first.into()), ("/file/path", second.clone().into()), is_file.clone()],
        ),
    );
    let [left, right] = ["left", "right"].map(at);
    fs::write(&left, "")?;
    fs::write(&right, "")?;
    let of_exchange = |from: &str, to: &str| {
        let is_exchange = ("/file/is_exchange", true.into());
        vec![("/file/old_path", from.into()), ("/file/path", to.into()), is_exchange]
    };
    let of_left = with(identity(&left)?, &of_exchange(&left, &right));
    script.lsm("file_exchange", "file.rename", file::exchange(&left, &right)?, of_left);
    // The kernel asks about one direction; the other is told, too.
    let back = of_exchange(&right, &left);
    script.lsm("file_exchange_back", "file.rename", file::exchange(&left, &right)?, back);
    script.lsm(
        "file_link",
        "file.link",
        file::link(&second, &third)?,
        with(
            of_file.clone(),
            &[("/file/old_path", second.into()), ("/file/path", third.clone().into()), is_file.clone()],
        ),
    );
    script.lsm(
        "file_unlink",
        "file.unlink",
        file::unlink(&third)?,
        with(of_file, &[("/file/path", third.into()), is_file]),
    );
    Ok(())
}

fn special_files(script: &mut Script) -> Result<()> {
    let [folder, symbolic, pipe, empty] = ["d", "s", "p", "empty"].map(at);
    let dev = device()?;
    script.lsm(
        "file_mkdir",
        "file.mkdir",
        file::make_directory(&folder)?,
        vec![
            ("/file/path", folder.into()),
            dev.clone(),
            ("/file/type", "dir".into()),
            ("/file/mode_text", Value::Null),
        ],
    );
    script.lsm(
        "file_symlink",
        "file.symlink",
        file::symlink("/etc/passwd", &symbolic)?,
        vec![("/file/path", symbolic.into()), ("/file/link_target", "/etc/passwd".into()), dev.clone()],
    );
    script.lsm(
        "file_mknod_fifo",
        "file.fifo",
        file::make_fifo(&pipe)?,
        vec![
            ("/file/path", pipe.clone().into()),
            ("/file/type", "fifo".into()),
            ("/file/mode_text", "0600".into()),
            dev,
        ],
    );
    let of_pipe = identity(&pipe)?;
    script.lsm(
        "file_open_fifo",
        "file.fifo_open",
        file::open_fifo(&pipe)?,
        with(of_pipe, &[("/file/path", pipe.into()), ("/file/type", "fifo".into()), ("/file/open_flags", Value::Null)]),
    );
    fs::create_dir(&empty)?;
    let of_empty = identity(&empty)?;
    script.lsm(
        "file_rmdir",
        "file.unlink",
        file::remove_directory(&empty)?,
        with(of_empty, &[("/file/path", empty.into()), ("/file/type", "dir".into())]),
    );
    Ok(())
}

/// The device that new files are on, which is known before they have an inode.
fn device() -> Result<(&'static str, Value)> {
    Ok(("/file/dev", identity(PLACE)?.swap_remove(1).1))
}

fn attributes(script: &mut Script) -> Result<()> {
    let path = at("attributes");
    fs::write(&path, "1234")?;
    let of_file = with(identity(&path)?, &[("/file/path", path.clone().into()), ("/file/type", "file".into())]);
    let changed = [("/file/mode", json!(0o104_755)), ("/file/mode_text", json!("4755"))];
    script.lsm("file_chmod", "file.chmod", file::chmod(&path, "4755")?, with(of_file.clone(), &changed));
    let owner = [("/file/uid", json!(1)), ("/file/gid", Value::Null)];
    script.lsm("file_chown", "file.chown", file::chown(&path, "1")?, with(of_file.clone(), &owner));
    // This hook knows no mount: the path is that within the file system, which is mounted at /tmp.
    let named = [
        ("/file/attribute", json!("trusted.wt")),
        ("/file/path", json!(path.trim_start_matches("/tmp"))),
        ("/file/is_path_in_file_system", true.into()),
    ];
    script.lsm(
        "file_setxattr",
        "file.setxattr",
        file::set_xattr(&path, "trusted.wt", "x")?,
        with(of_file.clone(), &named),
    );
    script.lsm("file_truncate", "file.truncate", file::truncate(&path, "2")?, of_file.clone());
    script.lsm("file_ftruncate", "file.truncate", file::truncate_open(&path, "1")?, of_file);
    Ok(())
}
