// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A kernel module is loaded: from a file (finit_module), or from memory (init_module), where nothing tells which one it is.
// Where a policy has rules on modules, a module from memory is denied: it could be any of those.
// Prototypes (6.1, 6.12): int kernel_read_file(struct file *file, enum kernel_read_file_id id, bool contents)
// int kernel_load_data(enum kernel_load_data_id id, bool contents)
#include "digest.h"

/* READING_MODULE and LOADING_MODULE, include/linux/kernel_read_file.h */
#define MODULE_ID 2

SEC("lsm.s/kernel_read_file")
int BPF_PROG(guard_module, struct file *file, int id, bool contents, int ret)
{
	struct question question = {};

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_MODULE, hits);
	if (id != MODULE_ID || is_null(file) || !ask(&question, ON_MODULE)) {
		GUARD_COUNT(GUARD_GUARD_MODULE, filtered);
		return 0;
	}
	weigh_opened(&question, file);
	return answer(&question, GUARD_GUARD_MODULE, file->f_inode, file->f_path.dentry, file->f_path.mnt);
}

SEC("lsm/kernel_load_data")
int BPF_PROG(guard_blob, int id, bool contents, int ret)
{
	struct question question = {};

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_BLOB, hits);
	if (id != MODULE_ID || !ask(&question, ON_MODULE)) {
		GUARD_COUNT(GUARD_GUARD_BLOB, filtered);
		return 0;
	}
	question.mode = question.header->denies & (1u << ON_MODULE) ? POLICY_DENY : POLICY_AUDIT;
	question.decided = ON_MODULE;
	question.matched = POLICY_UNNAMED;
	return answer(&question, GUARD_GUARD_BLOB, NULL, NULL, NULL);
}
