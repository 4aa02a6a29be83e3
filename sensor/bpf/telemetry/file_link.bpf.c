// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file gets another name. The old name comes without its mount; a link can't cross mounts, so the new folder's is taken.
// Prototype (6.1, 6.12): int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)
#include "pressure.h"

SEC("lsm/path_link")
int BPF_PROG(file_link, struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_LINK, hits);
	if (is_file_left_out(HOOK_FILE_LINK, old_dentry, new_dentry))
		return 0;
	scratch = begin(HOOK_FILE_LINK, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, old_dentry->d_inode);
	append_path(scratch, TAG_OLD_PATH, old_dentry, new_dir->mnt);
	append_path(scratch, TAG_PATH, new_dentry, new_dir->mnt);
	submit_file(scratch, HOOK_FILE_LINK);
	return 0;
}
