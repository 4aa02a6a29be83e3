// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// overlayfs is about to copy a file into its upper layer, where it will have another identity. The task is marked; its next
// open for reading is that of the file itself, which open.bpf.c then judges as a run. A copied file thus can't be run
// because it never comes to be. Empty files are not read, and are no programs.
// Prototype (6.1, 6.12): int inode_copy_up(struct dentry *src, struct cred **new)
#include "overlay.h"

SEC("lsm/inode_copy_up")
int BPF_PROG(guard_copy_up, struct dentry *src, struct cred **credentials, int ret)
{
	struct question question = {};
	struct inode *inode;
	__u32 *copying;

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_COPY_UP, hits);
	GUARD_COUNT(GUARD_GUARD_COPY_UP, filtered);
	inode = BPF_CORE_READ(src, d_inode);
	if (!ask(&question, ON_EXEC) || is_null(inode))
		return 0;
	if (!S_ISREG(BPF_CORE_READ(inode, i_mode)) || BPF_CORE_READ(inode, i_size) == 0)
		return 0;
	copying = bpf_task_storage_get(&wtg_copying, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (copying && !*copying) {
		*copying = 1;
		__sync_fetch_and_add(&wtg_copies, 1);
	}
	return 0;
}
