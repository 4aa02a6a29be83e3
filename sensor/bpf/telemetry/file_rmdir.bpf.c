// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A folder is removed. Asked before the kernel looks whether it is empty.
// Prototype (6.1, 6.12): int path_rmdir(const struct path *dir, struct dentry *dentry)
#include "pressure.h"

SEC("lsm/path_rmdir")
int BPF_PROG(file_rmdir, const struct path *dir, struct dentry *dentry, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_RMDIR, hits);
	if (is_file_left_out(HOOK_FILE_RMDIR, dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_RMDIR, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, dentry->d_inode);
	append_path(scratch, TAG_PATH, dentry, dir->mnt);
	submit_file(scratch, HOOK_FILE_RMDIR);
	return 0;
}
