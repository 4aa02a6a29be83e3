// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// An extended attribute is set: file capabilities and labels are kept in them. There is no path_setxattr: the path starts at
// the file system's root and is marked as detached.
// Prototype (6.1): int inode_setxattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name,
// const void *value, size_t size, int flags); 6.12: the first is struct mnt_idmap *idmap
#include "pressure.h"

SEC("lsm/inode_setxattr")
int BPF_PROG(file_setxattr, void *mount_ids, struct dentry *dentry, const char *name, const void *value, size_t size, int flags, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_SETXATTR, hits);
	if (is_file_left_out(HOOK_FILE_SETXATTR, dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_SETXATTR, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, dentry->d_inode);
	body->flags = flags;
	body->size = size;
	append_path(scratch, TAG_PATH, dentry, NULL);
	append_string(scratch, TAG_NAME, name);
	submit_file(scratch, HOOK_FILE_SETXATTR);
	return 0;
}
