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

	file = FAR(struct file, file);
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
	file = FAR(struct file, file);
	GUARD_COUNT(GUARD_GUARD_OPEN, hits);
	return refuse_tampering(GUARD_GUARD_OPEN, file->f_inode, file->f_path.dentry, file->f_path.mnt);
}

/* Counted from the flags and not chosen by them, so that the verifier goes through what follows once for both. */
static __always_inline __u32 operation_of(const struct file *file)
{
	__u32 operation = (file->f_mode / FMODE_WRITE | file->f_flags / O_TRUNC) & 1;

	_Static_assert(ON_EXEC == 0 && ON_WRITE == 1, "an operation is a bit");
	return operation;
}

static __always_inline bool is_write(const struct file *file)
{
	return file->f_mode & FMODE_WRITE || file->f_flags & O_TRUNC;
}

static __noinline int decide_open(struct file *file)
{
	struct file *far = FAR(struct file, file);
	__u32 operation = operation_of(file);

	if (is_write(far)) {
		if (is_own_executable(far->f_inode))
			return refuse_write(file);
		note_write(file->f_inode);
	}
	if (!is_never_named(operation, far))
		return weigh_open(file, operation);
	GUARD_COUNT_HIT_FILTERED(GUARD_GUARD_OPEN);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(guard_open, struct file *file, int ret)
{
	if (ret)
		return ret;
	if (is_write(file) || file->f_flags & FLAG_EXEC || is_copied_up())
		return decide_open(file);
	return 0;
}
