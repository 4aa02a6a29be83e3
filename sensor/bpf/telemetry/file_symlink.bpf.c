// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A symbolic link is made. TAG_NAME is what it points to, as written, cut after 255 bytes.
// Prototype (6.1, 6.12): int path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)
#include "pressure.h"

SEC("lsm/path_symlink")
int BPF_PROG(file_symlink, const struct path *dir, struct dentry *dentry, const char *old_name, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_SYMLINK, hits);
	if (is_file_left_out(HOOK_FILE_SYMLINK, dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_SYMLINK, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, NULL);
	body->dev = dentry->d_sb->s_dev;
	body->mode = S_IFLNK | 0777;
	append_path(scratch, TAG_PATH, dentry, dir->mnt);
	append_string(scratch, TAG_NAME, old_name);
	submit_file(scratch, HOOK_FILE_SYMLINK);
	return 0;
}
