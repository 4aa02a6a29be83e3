// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A folder is made. It has no inode yet.
// Prototype (6.1, 6.12): int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)
#include "pressure.h"

SEC("lsm/path_mkdir")
int BPF_PROG(file_mkdir, const struct path *dir, struct dentry *dentry, umode_t mode, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_MKDIR, hits);
	if (is_file_left_out(HOOK_FILE_MKDIR, dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_MKDIR, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, NULL);
	body->dev = dentry->d_sb->s_dev;
	body->mode = (mode & ~S_IFMT) | S_IFDIR;
	append_path(scratch, TAG_PATH, dentry, dir->mnt);
	submit_file(scratch, HOOK_FILE_MKDIR);
	return 0;
}
