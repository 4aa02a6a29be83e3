// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A name moves. With RENAME_EXCHANGE in `flags` the two names change places; it runs once for both.
// Prototype (6.1, 6.12): int path_rename(const struct path *old_dir, struct dentry *old_dentry,
// const struct path *new_dir, struct dentry *new_dentry, unsigned int flags)
#include "pressure.h"

SEC("lsm/path_rename")
int BPF_PROG(file_rename, const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
	     struct dentry *new_dentry, unsigned int flags, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_RENAME, hits);
	if (is_file_left_out(HOOK_FILE_RENAME, old_dentry, new_dentry))
		return 0;
	scratch = begin(HOOK_FILE_RENAME, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, old_dentry->d_inode);
	body->flags = flags;
	append_path(scratch, TAG_OLD_PATH, old_dentry, old_dir->mnt);
	append_path(scratch, TAG_PATH, new_dentry, new_dir->mnt);
	submit_file(scratch, HOOK_FILE_RENAME);
	return 0;
}
