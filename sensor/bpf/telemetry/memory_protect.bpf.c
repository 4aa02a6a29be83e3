// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Memory becomes code that was none. Runs at every mprotect, so everything else leaves at once. `flags` is the protection,
// `size` the area's flags before; without a file the inode is 0.
// Prototype (6.1, 6.12): int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
#include "event.h"

SEC("lsm/file_mprotect")
int BPF_PROG(memory_protect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;
	struct file *file;

	if (ret)
		return ret;
	if (!(prot & PROT_EXEC) || vma->vm_flags & VM_EXEC) {
		COUNT_HIT_FILTERED(HOOK_MEMORY_PROTECT);
		return 0;
	}
	COUNT(HOOK_MEMORY_PROTECT, hits);
	scratch = begin(HOOK_MEMORY_PROTECT, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	file = vma->vm_file;
	fill_identity(body, NULL);
	if (!is_null(file)) {
		fill_identity(body, file->f_inode);
		append_path(scratch, TAG_PATH, file->f_path.dentry, file->f_path.mnt);
	}
	body->flags = prot;
	body->size = vma->vm_flags;
	submit_critical(scratch, HOOK_MEMORY_PROTECT);
	return 0;
}
