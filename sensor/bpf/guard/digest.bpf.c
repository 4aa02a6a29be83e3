// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A program is about to run: its contents are compared with the digests of the policy. Runs for the file and again for its
// interpreter. Sleepable, because the kernel's integrity code reads the whole file.
// Prototype (6.1, 6.12): int bprm_check_security(struct linux_binprm *bprm)
#include "digest.h"

static __noinline int weigh_program(struct file *file)
{
	struct question question = {};

	GUARD_COUNT(GUARD_GUARD_DIGEST, hits);
	if (!ask(&question, ON_EXEC) || !HAS_KIND(&question, POLICY_DIGEST)) {
		GUARD_COUNT(GUARD_GUARD_DIGEST, filtered);
		return 0;
	}
	weigh_digest(&question, file);
	return answer(&question, GUARD_GUARD_DIGEST, file->f_inode, file->f_path.dentry, file->f_path.mnt);
}

SEC("lsm.s/bprm_check_security")
int BPF_PROG(guard_digest, struct linux_binprm *bprm, int ret)
{
	if (ret)
		return ret;
	if (!is_never_ruled(ON_EXEC, 1u << POLICY_DIGEST))
		return weigh_program(bprm->file);
	GUARD_COUNT_HIT_FILTERED(GUARD_GUARD_DIGEST);
	return 0;
}
