// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process runs another program: credentials, arguments and memory are the new program's here.
// Prototype (6.1, 6.12, 6.18): void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
#include "cgroup.h"
#include "filter.h"

static __always_inline void append_argv(struct scratch *scratch, struct mm_struct *mm, __u64 *argv_bytes)
{
	__u64 start = mm->arg_start;
	__u64 bytes = mm->arg_end - start;
	__u32 at = scratch->bytes;
	__u16 flags = 0;

	*argv_bytes = bytes;
	if (!HAS_ROOM(at, ARGV_BYTES_MAX))
		return;
	if (bytes > ARGV_BYTES_MAX) {
		bytes = ARGV_BYTES_MAX;
		flags = ATTACHMENT_CUT;
	}
	if (bpf_probe_read_user(scratch->data + at + ATTACHMENT_BYTES, bytes, (void *)start)) {
		COUNT(HOOK_TASK_EXEC, helper_failures);
		bytes = 0;
		flags |= ATTACHMENT_UNREADABLE;
	}
	close_attachment(scratch, at, TAG_ARGV, flags, bytes);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(task_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct linux_binprm *run = FAR(struct linux_binprm, bprm);
	struct task_struct *far = FAR(struct task_struct, task);
	struct mm_struct *mm = far->mm;
	struct scratch *scratch;
	struct wt_exec *exec;
	struct inode *inode;
	struct file *file;

	/* Before anything is decided: a build that is not active yet must know our processes once it is. */
	trust_exec(task, bprm);
	remember_exec(task, run->file->f_inode);
	COUNT(HOOK_TASK_EXEC, hits);
	scratch = begin(HOOK_TASK_EXEC, RECORD_EXEC, sizeof(*exec));
	if (!scratch)
		return 0;
	exec = BODY(scratch, wt_exec);
	file = run->file;
	inode = file->f_inode;
	exec->inode = inode->i_ino;
	exec->dev = inode->i_sb->s_dev;
	exec->generation = inode->i_generation;
	exec->links = inode->i_nlink;
	exec->fs_magic = inode->i_sb->s_magic;
	exec->argv_bytes = 0;
	append_path(scratch, TAG_EXECUTABLE, file->f_path.dentry, file->f_path.mnt);
	if (mm)
		append_argv(scratch, mm, &exec->argv_bytes);
	append_path(scratch, TAG_CWD, far->fs->pwd.dentry, far->fs->pwd.mnt);
	append_cgroup(scratch, task);
	if (run->interp != run->filename)
		append_string(scratch, TAG_INTERPRETER, run->interp);
	submit_critical(scratch, HOOK_TASK_EXEC);
	return 0;
}
