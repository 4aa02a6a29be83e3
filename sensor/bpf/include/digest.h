/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Rules on contents. The kernel's integrity code (IMA) computes the digest; it needs no policy of its own for that. */
#pragma once
#include "overlay.h"

/* include/uapi/linux/hash_info.h */
#define HASH_ALGO_SHA256 4

/* File systems on which every change of a file goes through an open for write on this machine and this inode. */
static __always_inline bool keeps_digests(struct inode *inode)
{
	__u64 magic = inode->i_sb->s_magic;

	return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC || magic == TMPFS_MAGIC;
}

static __always_inline void weigh_sha256(struct question *question, const __u8 *sha256)
{
	struct wt_policy_key key = { .kind = POLICY_DIGEST };

	__builtin_memcpy(&key.a, sha256, 8);
	__builtin_memcpy(&key.b, sha256 + 8, 8);
	__builtin_memcpy(&key.c, sha256 + 16, 8);
	__builtin_memcpy(&key.d, sha256 + 24, 8);
	weigh(question, bpf_map_lookup_elem(question->table, &key), POLICY_DIGEST);
}

/* Contents that can't be judged: the strictest rule on contents decides, which the header has. */
static __always_inline void weigh_unjudged(struct question *question)
{
	__u16 mode = ((const __u16 *)question->header->rules)[question->operation & 7];

	if (!question->mode || mode < question->mode) {
		question->mode = mode;
		question->decided = question->operation;
		question->rule = 0;
		question->matched = POLICY_DIGEST;
	}
}

/* For hooks that may not sleep: what is known of the contents from the time when they were mapped. */
static __always_inline void weigh_kept_digest(struct question *question, struct inode *inode)
{
	struct kept_digest *kept = bpf_inode_storage_get(&wtg_digests, inode, NULL, 0);

	if (kept && kept->generation == question->header->generation)
		weigh_sha256(question, kept->sha256);
	else
		weigh_unjudged(question);
}

/*
 * A digest is kept with the inode while nobody has it open for write: a shared writable mapping counts as open. An inode that
 * was opened for write while it was read is read again next time.
 */
static __always_inline void weigh_digest(struct question *question, struct file *file)
{
	struct inode *inode = file->f_inode;
	__u64 generation = question->header->generation;
	__u64 writes = wtg_writes;
	struct kept_digest fresh = { .generation = generation };
	struct kept_digest *kept;
	long algorithm;

	kept = bpf_inode_storage_get(&wtg_digests, inode, NULL, 0);
	if (kept && kept->generation == generation) {
		weigh_sha256(question, kept->sha256);
		return;
	}
	algorithm = bpf_ima_file_hash(file, fresh.sha256, sizeof(fresh.sha256));
	if (algorithm != HASH_ALGO_SHA256) {
		weigh_unjudged(question);
		return;
	}
	weigh_sha256(question, fresh.sha256);
	if (!keeps_digests(inode) || inode->i_writecount.counter > 0 || wtg_writes != writes)
		return;
	__sync_fetch_and_add(&wtg_kept, 1);
	kept = bpf_inode_storage_get(&wtg_digests, inode, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!kept)
		return;
	__builtin_memcpy(kept->sha256, fresh.sha256, sizeof(kept->sha256));
	kept->generation = generation;
	if (wtg_writes != writes)
		bpf_inode_storage_delete(&wtg_digests, inode);
}

/* All that a policy can know of an open file, for hooks that may sleep: the file behind an overlay too, and the contents. */
static __always_inline void weigh_opened(struct question *question, struct file *file)
{
	weigh_inode(question, real_inode(file));
	if (question->mode != POLICY_DENY)
		weigh_file(question, file->f_inode, file->f_path.dentry, file->f_path.mnt);
	if (HAS_KIND(question, POLICY_DIGEST) && question->mode != POLICY_DENY)
		weigh_digest(question, file);
}
