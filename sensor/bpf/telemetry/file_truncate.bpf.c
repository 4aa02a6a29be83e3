// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file is cut or extended by its path; up to 6.1 also by an open file and by O_TRUNC. The new size is not told: size stays 0.
// Prototype (6.1, 6.12): int path_truncate(const struct path *path)
#include "pressure.h"

SEC("lsm/path_truncate")
int BPF_PROG(file_truncate, const struct path *path, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_TRUNCATE, hits);
	if (is_file_left_out(HOOK_FILE_TRUNCATE, path->dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_TRUNCATE, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, path->dentry->d_inode);
	append_path(scratch, TAG_PATH, path->dentry, path->mnt);
	submit_file(scratch, HOOK_FILE_TRUNCATE);
	return 0;
}
