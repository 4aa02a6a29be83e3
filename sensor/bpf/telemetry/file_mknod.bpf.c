// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file, FIFO or device is made: by mknod, and by an open that creates. There is no inode yet, but the new name has its
// parent, so the path is known.
// Prototype (6.1, 6.12): int path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)
#include "pressure.h"

SEC("lsm/path_mknod")
int BPF_PROG(file_mknod, const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_MKNOD, hits);
	if (is_file_left_out(HOOK_FILE_MKNOD, dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_MKNOD, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, NULL);
	body->dev = dentry->d_sb->s_dev;
	body->mode = mode & S_IFMT ? mode : mode | S_IFREG;     /* mknod takes no type for a regular file */
	append_path(scratch, TAG_PATH, dentry, dir->mnt);
	submit_file(scratch, HOOK_FILE_MKNOD);
	return 0;
}
