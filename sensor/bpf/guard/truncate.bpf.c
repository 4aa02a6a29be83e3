// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A file is cut by its name; by a descriptor it can only be cut where it was opened for write.
// Prototype (6.1, 6.12): int path_truncate(const struct path *path)
#include "overlay.h"
#include "own.h"

SEC("lsm/path_truncate")
int BPF_PROG(guard_truncate, const struct path *path, int ret)
{
	struct question question = {};
	struct dentry *dentry;
	struct inode *inode;

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_TRUNCATE, hits);
	dentry = path->dentry;
	inode = dentry->d_inode;
	if (!is_null(inode)) {
		if (is_own_executable(inode))
			return refuse_tampering(GUARD_GUARD_TRUNCATE, inode, dentry, path->mnt);
		note_write(inode);
	}
	if (!ask(&question, ON_WRITE)) {
		GUARD_COUNT(GUARD_GUARD_TRUNCATE, filtered);
		return 0;
	}
	weigh_file(&question, inode, dentry, path->mnt);
	return answer(&question, GUARD_GUARD_TRUNCATE, inode, dentry, path->mnt);
}
