// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file gets another name: out of a folder that a rule is about, it may not; in a folder that may not be written, neither.
// Prototype (6.1, 6.12): int inode_link(struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry)
#include "guard.h"

SEC("lsm/inode_link")
int BPF_PROG(guard_link, struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry, int ret)
{
	struct question question = {};

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_LINK, hits);
	if (ask(&question, ON_LEAVE))
		weigh_leaving(&question, BPF_CORE_READ(old_dentry, d_parent), BPF_CORE_READ(new_dentry, d_parent));
	if (question.mode != POLICY_DENY && ask(&question, ON_WRITE)) {
		weigh_place(&question, new_dentry, dir);
		weigh_folders(&question, BPF_CORE_READ(new_dentry, d_parent), NULL);
	}
	return answer(&question, GUARD_GUARD_LINK, old_dentry->d_inode, question.decided == ON_WRITE ? new_dentry : old_dentry,
		      NULL);
}
