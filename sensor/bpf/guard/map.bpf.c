// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file is mapped as code: what the program loader ld.so does with a program that it is given as an argument, and with every
// library. Sleepable for the digest. file is NULL for memory without a file. The program that an execve maps has been asked
// about when it was opened and when it was run.
// Prototype (6.1, 6.12): int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
#include "digest.h"
#include "execve.h"

/* Apart from the program, which most mappings leave at once: they don't pay for its stack. */
static __noinline int weigh_map(struct file *file)
{
	struct question question = {};

	GUARD_COUNT(GUARD_GUARD_MAP, hits);
	if (!ask(&question, ON_EXEC)) {
		GUARD_COUNT(GUARD_GUARD_MAP, filtered);
		return 0;
	}
	weigh_opened(&question, file);
	return answer(&question, GUARD_GUARD_MAP, file->f_inode, file->f_path.dentry, file->f_path.mnt);
}

SEC("lsm.s/mmap_file")
int BPF_PROG(guard_map, struct file *file, unsigned long asked, unsigned long prot, unsigned long flags, int ret)
{
	if (ret)
		return ret;
	if (!(prot & PROT_EXEC) || is_null(file) || is_program_of_execve(file))
		return 0;
	return weigh_map(file);
}
