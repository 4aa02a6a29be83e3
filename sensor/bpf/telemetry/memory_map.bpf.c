// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Memory is mapped as code. Runs at every mmap, so what is not code leaves at once, and so does the program that an execve
// maps, which its event tells of; not if it has no name any more (memfd, deleted). `flags` is the protection, `size` the
// mapping's flags; without a file, as a JIT maps, the inode is 0.
// Prototype (6.1, 6.12): int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
// `file` may be NULL; 6.13 says so in its BTF
#include "event.h"
#include "execve.h"

SEC("lsm/mmap_file")
int BPF_PROG(memory_map, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	if (!(prot & PROT_EXEC) || (!is_null(file) && file->f_inode->i_nlink && is_program_of_execve(file))) {
		COUNT_HIT_FILTERED(HOOK_MEMORY_MAP);
		return 0;
	}
	COUNT(HOOK_MEMORY_MAP, hits);
	scratch = begin(HOOK_MEMORY_MAP, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, NULL);
	if (!is_null(file)) {
		fill_identity(body, file->f_inode);
		append_path(scratch, TAG_PATH, file->f_path.dentry, file->f_path.mnt);
	}
	body->flags = prot;
	body->size = flags;
	submit_critical(scratch, HOOK_MEMORY_MAP);
	return 0;
}
