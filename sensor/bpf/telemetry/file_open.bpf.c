// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file is opened for writing, or a FIFO is opened at all. Runs at every open, so what is left out leaves at once: reading,
// character devices, sockets, and the kernel's own file systems, where a write is a setting and not content, or a pidfd.
// Prototype (6.1, 6.12): int file_open(struct file *file)
#include "pressure.h"

static __always_inline bool is_reported_open(const struct file *file, const struct inode *inode)
{
	umode_t type = inode->i_mode & S_IFMT;
	unsigned long magic;

	if (type == S_IFIFO)
		return !(file->f_flags & O_PATH);
	if (!(file->f_mode & FMODE_WRITE) || type == S_IFCHR || type == S_IFSOCK)
		return false;
	magic = inode->i_sb->s_magic;
	return magic != PROC_SUPER_MAGIC && magic != SYSFS_MAGIC && magic != DEVPTS_SUPER_MAGIC && magic != PID_FS_MAGIC;
}

/* Apart from the program, which most opens leave at once: they don't pay for its registers. */
static __noinline int tell_open(struct file *file)
{
	__u32 hook = HOOK_FILE_OPEN;
	struct wt_counters *row = bpf_map_lookup_elem(&counters, &hook);
	struct scratch *scratch;
	struct wt_file *body;

	LEAVE_IF_SILENT(HOOK_FILE_OPEN);
	if (!row)
		return 0;
	__sync_fetch_and_add(&row->hits, 1);
	if (is_file_left_out(HOOK_FILE_OPEN, file->f_path.dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_OPEN, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, file->f_inode);
	body->flags = file->f_flags;
	append_path(scratch, TAG_PATH, file->f_path.dentry, file->f_path.mnt);
	/* With the row at hand: this is the busiest hook of those that tell something. */
	if (put_into(&ring_file, RING_FILE, scratch))
		__sync_fetch_and_add(&row->submitted, 1);
	else
		__sync_fetch_and_add(&row->lost_ring_full, 1);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file, int ret)
{
	if (ret)
		return ret;
	if (is_reported_open(file, file->f_inode))
		return tell_open(file);
	COUNT_HIT_FILTERED(HOOK_FILE_OPEN);
	return 0;
}
