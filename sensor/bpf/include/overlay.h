/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The file behind an overlay's file, the copy of one into an overlay's upper layer, and digests that may be kept. */
#pragma once
#include "guard.h"

extern int LINUX_KERNEL_VERSION __kconfig;
/* From here on an overlay's file points to a struct whose first member is the real file. */
#define KERNEL_OVL_FILE ((6 << 16) + (13 << 8))

/* A task that copies a file up. The copy reads the file with a plain open: that one is asked about as a run would be. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} wtg_copying SEC(".maps");

/* Tasks in the map above, so that other opens need not look there. */
__u64 wtg_copies SEC(".bss.wtg");

/* Whether this open reads what is being copied up; forgets it, for one copy makes one such open. */
static __always_inline bool is_copied_up(void)
{
	__u32 *copying;

	if (!wtg_copies)
		return false;
	copying = bpf_task_storage_get(&wtg_copying, bpf_get_current_task_btf(), NULL, 0);
	if (!copying || !*copying)
		return false;
	*copying = 0;
	__sync_fetch_and_sub(&wtg_copies, 1);
	return true;
}

/* The name of the file itself: behind an overlay, on kernels where the path is the overlay's, one that the real file has. */
static __always_inline struct dentry *real_dentry(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = file->f_inode;
	struct hlist_node *alias;

	if (dentry->d_inode == inode)
		return dentry;
	alias = BPF_CORE_READ(inode, i_dentry.first);
	if (is_null(alias))
		return dentry;
	return (void *)alias - bpf_core_field_offset(struct dentry, d_u.d_alias);
}

/* The file whose contents a mapping shows. */
static __always_inline struct inode *real_inode(struct file *file)
{
	struct inode *inode = file->f_inode;
	struct file *real;

	if (inode->i_sb->s_magic != OVERLAYFS_SUPER_MAGIC)
		return inode;
	real = file->private_data;
	if (!is_null(real) && LINUX_KERNEL_VERSION >= KERNEL_OVL_FILE)
		bpf_probe_read_kernel(&real, sizeof(real), real);
	if (is_null(real))
		return inode;
	return BPF_CORE_READ(real, f_inode);
}

/* What a digest may be kept for: it holds until the next open for write of the same inode under the same generation. */
struct kept_digest {
	__u64 generation;
	__u8 sha256[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kept_digest);
} wtg_digests SEC(".maps");

/* Opens for write so far: tells whether there was one while a digest was made. */
__u64 wtg_writes SEC(".bss.wtg");

/* Digests that were ever about to be kept. Set before one is, as `wtg_writes` is before this is looked at: one sees the other. */
__u64 wtg_kept SEC(".bss.wtg");

static __always_inline void note_write(struct inode *inode)
{
	__sync_fetch_and_add(&wtg_writes, 1);
	if (wtg_kept)
		bpf_inode_storage_delete(&wtg_digests, inode);
}
