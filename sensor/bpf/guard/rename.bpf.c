// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A name moves. Asked about in this order: may it be renamed, may it leave its folders, may what has the new name be replaced
// (an unlink of that, and a write to its place), may the new folder be written. The hook runs twice for an exchange.
// Prototype (6.1, 6.12): int inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
// struct dentry *new_dentry)
#include "own.h"

SEC("lsm/inode_rename")
int BPF_PROG(guard_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
	     struct dentry *new_dentry, int ret)
{
	struct dentry *old_folder, *new_folder;
	struct inode *moved, *replaced;
	struct question question = {};

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_RENAME, hits);
	old_folder = BPF_CORE_READ(old_dentry, d_parent);
	new_folder = BPF_CORE_READ(new_dentry, d_parent);
	moved = BPF_CORE_READ(old_dentry, d_inode);
	replaced = BPF_CORE_READ(new_dentry, d_inode);
	if (is_own_pin(old_dentry) || is_own_pin(new_folder)) {
		if (!is_trusted_now())
			return refuse_tampering(GUARD_GUARD_RENAME, NULL, old_dentry, NULL);
		GUARD_COUNT(GUARD_GUARD_RENAME, filtered);
		return 0;
	}
	if (is_own_if_any(old_dentry->d_inode))
		return refuse_tampering(GUARD_GUARD_RENAME, old_dentry->d_inode, old_dentry, NULL);
	if (is_own_if_any(new_dentry->d_inode))
		return refuse_tampering(GUARD_GUARD_RENAME, new_dentry->d_inode, new_dentry, NULL);
	if (ask(&question, ON_RENAME))
		weigh_file(&question, moved, old_dentry, NULL);
	if (question.mode != POLICY_DENY && ask(&question, ON_LEAVE))
		weigh_leaving(&question, old_folder, new_folder);
	if (question.mode != POLICY_DENY && !is_null(replaced) && ask(&question, ON_UNLINK))
		weigh_file(&question, replaced, new_dentry, NULL);
	if (question.mode != POLICY_DENY && ask(&question, ON_WRITE)) {
		weigh_inode(&question, replaced);
		weigh_place(&question, new_dentry, new_dir);
		weigh_folders(&question, new_folder, NULL);
		weigh_folders(&question, old_folder, NULL);
	}
	if (question.decided == ON_UNLINK || question.decided == ON_WRITE)
		return answer(&question, GUARD_GUARD_RENAME, replaced, new_dentry, NULL);
	return answer(&question, GUARD_GUARD_RENAME, moved, old_dentry, NULL);
}
