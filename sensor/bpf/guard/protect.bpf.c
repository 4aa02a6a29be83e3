// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Mapped memory becomes code: a file that was mapped to be read only, then made executable. vm_file is NULL for memory without
// a file. This hook may not sleep: of contents it knows what was found when they were last run or mapped as code.
// Prototype (6.1, 6.12): int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
#include "digest.h"

SEC("lsm/file_mprotect")
int BPF_PROG(guard_protect, struct vm_area_struct *vma, unsigned long asked, unsigned long prot, int ret)
{
	struct question question = {};
	struct file *file;
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct inode *inode;

	if (ret)
		return ret;
	if (!(prot & PROT_EXEC) || vma->vm_flags & VM_EXEC)
		return 0;
	file = vma->vm_file;
	if (is_null(file))
		return 0;
	GUARD_COUNT(GUARD_GUARD_PROTECT, hits);
	if (!ask(&question, ON_EXEC)) {
		GUARD_COUNT(GUARD_GUARD_PROTECT, filtered);
		return 0;
	}
	inode = file->f_inode;
	dentry = file->f_path.dentry;
	mnt = file->f_path.mnt;
	weigh_file(&question, inode, dentry, mnt);
	if (HAS_KIND(&question, POLICY_DIGEST) && question.mode != POLICY_DENY)
		weigh_kept_digest(&question, inode);
	return answer(&question, GUARD_GUARD_PROTECT, inode, dentry, mnt);
}
