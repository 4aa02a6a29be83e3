// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A name moves. Asked about in this order: may it be renamed, may it leave its folders, may what has the new name be replaced
// (an unlink of that, and a write to its place), may the new folder be written. The hook runs twice for an exchange.
// Prototype (6.1, 6.12): int inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
// struct dentry *new_dentry)
#include "own.h"

/* A rename on its way through what is asked about it. */
struct renaming {
	struct question *question;
	__u64 old_dentry;
	__u64 new_dentry;
	__u64 moved;
	__u64 replaced;                         /* 0: the new name is free */
};

enum { ASK_RENAME, ASK_LEAVE, ASK_UNLINK, ASK_WRITE_NEW, ASK_WRITE_OLD, ASK_COUNT };

static __always_inline __u32 operation_at(__u32 step)
{
	return step == ASK_RENAME ? ON_RENAME : step == ASK_LEAVE ? ON_LEAVE : step == ASK_UNLINK ? ON_UNLINK : ON_WRITE;
}

/* One thing that is asked. A loop's body, so that the verifier has to understand it once. */
static long rename_step(__u32 step, void *context)
{
	struct renaming *renaming = context;
	struct question *question = renaming->question;
	bool is_of_new = step == ASK_UNLINK || step == ASK_WRITE_NEW;
	struct dentry *named = (struct dentry *)(is_of_new ? renaming->new_dentry : renaming->old_dentry);
	struct dentry *folder = LOAD(struct dentry, named, d_parent);

	if (question->mode == POLICY_DENY)
		return 1;
	if ((step == ASK_UNLINK && !renaming->replaced) || !ask(question, operation_at(step)))
		return 0;
	if (step == ASK_LEAVE) {
		weigh_leaving(question, folder, LOAD(struct dentry, renaming->new_dentry, d_parent));
		return 0;
	}
	if (step != ASK_WRITE_OLD) {
		weigh_inode(question, (struct inode *)(is_of_new ? renaming->replaced : renaming->moved));
		if (question->mode != POLICY_DENY)
			weigh_place(question, named, LOAD(struct dentry, folder, d_inode));
	}
	if (question->mode != POLICY_DENY)
		weigh_folders(question, step == ASK_RENAME || step == ASK_UNLINK ? named : folder, NULL);
	return 0;
}

SEC("lsm/inode_rename")
int BPF_PROG(guard_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
	     struct dentry *new_dentry, int ret)
{
	struct inode *moved, *replaced;
	struct question question = {};
	struct renaming renaming = {
		.question = &question,
		.old_dentry = (__u64)old_dentry,
		.new_dentry = (__u64)new_dentry,
	};

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_RENAME, hits);
	if (is_own_pin(old_dentry) || is_own_pin(LOAD(struct dentry, new_dentry, d_parent))) {
		if (!is_trusted_now())
			return refuse_tampering(GUARD_GUARD_RENAME, NULL, old_dentry, NULL);
		GUARD_COUNT(GUARD_GUARD_RENAME, filtered);
		return 0;
	}
	moved = FAR(struct dentry, old_dentry)->d_inode;
	replaced = FAR(struct dentry, new_dentry)->d_inode;
	if (is_own_if_any(moved))
		return refuse_tampering(GUARD_GUARD_RENAME, moved, old_dentry, NULL);
	if (is_own_if_any(replaced))
		return refuse_tampering(GUARD_GUARD_RENAME, replaced, new_dentry, NULL);
	renaming.moved = (__u64)moved;
	renaming.replaced = (__u64)replaced;
	bpf_loop(ASK_COUNT, rename_step, &renaming, 0);
	if (question.decided == ON_UNLINK || question.decided == ON_WRITE)
		return answer(&question, GUARD_GUARD_RENAME, replaced, new_dentry, NULL);
	return answer(&question, GUARD_GUARD_RENAME, moved, old_dentry, NULL);
}
