// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Permission bits change. `mode` is what is asked for, with the file's type.
// Prototype (6.1, 6.12): int path_chmod(const struct path *path, umode_t mode)
#include "pressure.h"

SEC("lsm/path_chmod")
int BPF_PROG(file_chmod, const struct path *path, umode_t mode, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_CHMOD, hits);
	if (is_file_left_out(HOOK_FILE_CHMOD, path->dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_CHMOD, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, path->dentry->d_inode);
	body->mode = (body->mode & S_IFMT) | (mode & ~S_IFMT);
	append_path(scratch, TAG_PATH, path->dentry, path->mnt);
	submit_file(scratch, HOOK_FILE_CHMOD);
	return 0;
}
