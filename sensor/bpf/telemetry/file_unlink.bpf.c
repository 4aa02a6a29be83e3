// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A name is removed from a directory. path_unlink and not inode_unlink, because only it carries the mount.
// Prototype (6.1, 6.12): int path_unlink(const struct path *dir, struct dentry *dentry)
#include "pressure.h"

SEC("lsm/path_unlink")
int BPF_PROG(file_unlink, const struct path *dir, struct dentry *dentry, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_UNLINK, hits);
	if (is_file_left_out(HOOK_FILE_UNLINK, dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_UNLINK, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, dentry->d_inode);
	append_path(scratch, TAG_PATH, dentry, dir->mnt);
	submit_file(scratch, HOOK_FILE_UNLINK);
	return 0;
}
