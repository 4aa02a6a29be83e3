// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// An open file is cut or extended: ftruncate and O_TRUNC. The new size is not told: size stays 0.
// Prototype (6.12): int file_truncate(struct file *file); 6.1 has no such hook, path_truncate is called there
#include "pressure.h"

SEC("lsm/file_truncate")
int BPF_PROG(file_ftruncate, struct file *file, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_FTRUNCATE, hits);
	if (is_file_left_out(HOOK_FILE_FTRUNCATE, file->f_path.dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_FTRUNCATE, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, file->f_inode);
	append_path(scratch, TAG_PATH, file->f_path.dentry, file->f_path.mnt);
	submit_file(scratch, HOOK_FILE_FTRUNCATE);
	return 0;
}
