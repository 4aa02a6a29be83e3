// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file is opened: to be run, to be written, or by overlayfs to be copied. The same hook sees the open of an overlay's file
// and of the real one behind it, so a file can't be run or written through an overlay. Other opens are not asked about and
// not counted: this is the busiest hook of all.
// Prototype (6.1, 6.12): int file_open(struct file *file)
#include "overlay.h"
#include "own.h"

/* Apart from the program, which most opens leave at once: they don't pay for its stack. */
static __noinline int decide_open(struct file *file, __u32 operation)
{
	struct question question = {};
	struct dentry *dentry;

	GUARD_COUNT(GUARD_GUARD_OPEN, hits);
	if (operation == ON_WRITE) {
		if (is_own_executable(file->f_inode))
			return refuse_tampering(GUARD_GUARD_OPEN, file->f_inode, file->f_path.dentry, file->f_path.mnt);
		note_write(file->f_inode);
	}
	dentry = real_dentry(file);
	if (is_never_named(operation, file->f_inode, dentry) || !ask(&question, operation)) {
		GUARD_COUNT(GUARD_GUARD_OPEN, filtered);
		return 0;
	}
	weigh_file(&question, file->f_inode, dentry, file->f_path.mnt);
	return answer(&question, GUARD_GUARD_OPEN, file->f_inode, dentry, file->f_path.mnt);
}

SEC("lsm/file_open")
int BPF_PROG(guard_open, struct file *file, int ret)
{
	if (ret)
		return ret;
	if (file->f_mode & FMODE_WRITE || file->f_flags & O_TRUNC)
		return decide_open(file, ON_WRITE);
	if (file->f_flags & FLAG_EXEC || is_copied_up())
		return decide_open(file, ON_EXEC);
	return 0;
}
