// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file is opened: to be run, to be written, or by overlayfs to be copied. The same hook sees the open of an overlay's file
// and of the real one behind it, so a file can't be run or written through an overlay. Other opens are not asked about and
// not counted: this is the busiest hook of all.
// Prototype (6.1, 6.12): int file_open(struct file *file)
#include "overlay.h"
#include "own.h"

/* These are apart from the program, which most opens leave at once: they don't pay for their stack. */
static __noinline int weigh_open(struct file *file, __u32 operation)
{
	struct question question = {};
	struct dentry *dentry;

	GUARD_COUNT(GUARD_GUARD_OPEN, hits);
	if (!ask(&question, operation)) {
		GUARD_COUNT(GUARD_GUARD_OPEN, filtered);
		return 0;
	}
	dentry = real_dentry(file);
	weigh_file(&question, file->f_inode, dentry, file->f_path.mnt);
	return answer(&question, GUARD_GUARD_OPEN, file->f_inode, dentry, file->f_path.mnt);
}

static __noinline int refuse_write(struct file *file)
{
	GUARD_COUNT(GUARD_GUARD_OPEN, hits);
	return refuse_tampering(GUARD_GUARD_OPEN, file->f_inode, file->f_path.dentry, file->f_path.mnt);
}

static __noinline int decide_open(struct file *file, __u32 operation)
{
	if (operation == ON_WRITE) {
		if (is_own_executable(file->f_inode))
			return refuse_write(file);
		note_write(file->f_inode);
	}
	if (!is_never_named(operation, file))
		return weigh_open(file, operation);
	GUARD_COUNT_HIT_FILTERED(GUARD_GUARD_OPEN);
	return 0;
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
