// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A name or an empty folder is removed. inode_ and not path_ hooks: an overlay removes files of its upper layer without a path.
// Prototypes (6.1, 6.12): int inode_unlink(struct inode *dir, struct dentry *dentry)
// int inode_rmdir(struct inode *dir, struct dentry *dentry)
#include "own.h"

static __always_inline int judge_removal(__u32 hook, struct inode *dir, struct dentry *dentry, int ret)
{
	struct question question = {};
	struct inode *inode;

	if (ret)
		return ret;
	GUARD_COUNT(hook, hits);
	/* No policy has a say about our pins: it could not be taken away any more. */
	if (is_own_pin(dentry)) {
		if (!is_trusted_now())
			return refuse_tampering(hook, NULL, dentry, NULL);
		GUARD_COUNT(hook, filtered);
		return 0;
	}
	inode = FAR(struct dentry, dentry)->d_inode;
	if (is_own_if_any(inode))
		return refuse_tampering(hook, inode, dentry, NULL);
	if (!ask(&question, ON_UNLINK)) {
		GUARD_COUNT(hook, filtered);
		return 0;
	}
	weigh_file(&question, inode, dentry, NULL);
	return answer(&question, hook, inode, dentry, NULL);
}

SEC("lsm/inode_unlink")
int BPF_PROG(guard_unlink, struct inode *dir, struct dentry *dentry, int ret)
{
	return judge_removal(GUARD_GUARD_UNLINK, dir, dentry, ret);
}

SEC("lsm/inode_rmdir")
int BPF_PROG(guard_rmdir, struct inode *dir, struct dentry *dentry, int ret)
{
	return judge_removal(GUARD_GUARD_RMDIR, dir, dentry, ret);
}
