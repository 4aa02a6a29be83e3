// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A new name in a folder: a file, a node, a folder or a symbolic link. It is a write to the folder, and to the place.
// Prototypes (6.1, 6.12): int inode_create(struct inode *dir, struct dentry *dentry, umode_t mode)
// int inode_mknod(struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev)
// int inode_mkdir(struct inode *dir, struct dentry *dentry, umode_t mode)
// int inode_symlink(struct inode *dir, struct dentry *dentry, const char *old_name)
#include "guard.h"

static __always_inline int judge_new_name(__u32 hook, struct inode *dir, struct dentry *dentry, int ret)
{
	struct question question = {};

	if (ret)
		return ret;
	GUARD_COUNT(hook, hits);
	if (!ask(&question, ON_WRITE)) {
		GUARD_COUNT(hook, filtered);
		return 0;
	}
	weigh_place(&question, dentry, dir);
	weigh_folders(&question, BPF_CORE_READ(dentry, d_parent), NULL);
	return answer(&question, hook, NULL, dentry, NULL);
}

SEC("lsm/inode_create")
int BPF_PROG(guard_create, struct inode *dir, struct dentry *dentry, umode_t mode, int ret)
{
	return judge_new_name(GUARD_GUARD_CREATE, dir, dentry, ret);
}

SEC("lsm/inode_mknod")
int BPF_PROG(guard_mknod, struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev, int ret)
{
	return judge_new_name(GUARD_GUARD_MKNOD, dir, dentry, ret);
}

SEC("lsm/inode_mkdir")
int BPF_PROG(guard_mkdir, struct inode *dir, struct dentry *dentry, umode_t mode, int ret)
{
	return judge_new_name(GUARD_GUARD_MKDIR, dir, dentry, ret);
}

SEC("lsm/inode_symlink")
int BPF_PROG(guard_symlink, struct inode *dir, struct dentry *dentry, const char *old_name, int ret)
{
	return judge_new_name(GUARD_GUARD_SYMLINK, dir, dentry, ret);
}
