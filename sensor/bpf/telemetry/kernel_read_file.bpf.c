// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The kernel reads a file for its own use: a module, firmware, a kernel to boot. `command` is which.
// Prototype (6.1, 6.12): int kernel_read_file(struct file *file, enum kernel_read_file_id id, bool contents)
#include "event.h"

SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_read_file, struct file *file, int id, bool contents, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_KERNEL_READ_FILE, hits);
	scratch = begin(HOOK_KERNEL_READ_FILE, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, id, 0, contents);
	if (!is_null(file))
		append_path(scratch, TAG_PATH, file->f_path.dentry, file->f_path.mnt);
	submit_critical(scratch, HOOK_KERNEL_READ_FILE);
	return 0;
}
