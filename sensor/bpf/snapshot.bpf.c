// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The processes that are there already, each as the record of its exec. Read once, after the hooks are attached: what
// starts later is told by them, and the id (boot, start, pid) says which is which.
// Two forms: one that may sleep, and so reads another process's arguments even if they must be fetched from disk; one
// without arguments for kernels that do not admit the first.
#include "cgroup.h"

/* One reader, one record at a time: the first slot is enough, and it is not shared with the hooks' object. */
#define SLOT 0

static __always_inline struct scratch *begin_process(struct task_struct *task)
{
	struct wt_process *process;
	struct wt_header *header;
	struct scratch *scratch;
	__u32 key = SLOT;

	if (task->pid != task->tgid || (task->exit_state && task->signal->live.counter <= 0))
		return NULL;                    /* a thread, or one that has ended and is not yet collected */
	scratch = bpf_map_lookup_elem(&scratches, &key);
	if (!scratch)
		return NULL;
	header = (void *)scratch->data;
	scratch->hook = SLOT;
	scratch->bytes = BODY_OFFSET + sizeof(struct wt_exec);
	header->version = ABI_VERSION;
	header->record = RECORD_EXEC;
	header->hook = HOOK_TASK_EXEC;
	header->flags = FLAG_HAS_PROCESS | FLAG_WAS_THERE;
	header->cpu = 0;
	header->sequence = 0;
	header->boot_ns = bpf_ktime_get_boot_ns();
	process = (void *)(scratch->data + sizeof(*header));
	fill_process(process, task);
	process->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	bpf_probe_read_kernel(process->comm, sizeof(process->comm), task->comm);
	return scratch;
}

static __always_inline void fill_executable(struct scratch *scratch, struct mm_struct *mm)
{
	struct wt_exec *exec = BODY(scratch, wt_exec);
	struct file *file;
	struct inode *inode;

	__builtin_memset(exec, 0, sizeof(*exec));
	if (!mm)
		return;                         /* a kernel thread */
	exec->argv_bytes = BPF_CORE_READ(mm, arg_end) - BPF_CORE_READ(mm, arg_start);
	file = BPF_CORE_READ(mm, exe_file);
	if (!file)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	exec->inode = BPF_CORE_READ(inode, i_ino);
	exec->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	exec->generation = BPF_CORE_READ(inode, i_generation);
	exec->links = BPF_CORE_READ(inode, i_nlink);
	exec->fs_magic = BPF_CORE_READ(inode, i_sb, s_magic);
	append_path_unknown(scratch, TAG_EXECUTABLE, (__u64)BPF_CORE_READ(file, f_path.dentry),
			    BPF_CORE_READ(file, f_path.mnt));
}

static __always_inline void append_places(struct scratch *scratch, struct task_struct *task)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	if (fs)
		append_path_unknown(scratch, TAG_CWD, (__u64)BPF_CORE_READ(fs, pwd.dentry), BPF_CORE_READ(fs, pwd.mnt));
	append_cgroup(scratch, task);
}

static __always_inline void write_process(struct seq_file *seq, struct scratch *scratch)
{
	__u32 bytes = scratch->bytes;

	((struct wt_header *)scratch->data)->bytes = bytes;
	if (bytes > RECORD_BYTES_MAX)
		return;                         /* can't be: every append leaves room; the verifier has to see it */
	/* A record that the buffer has no room for is asked for again with an empty one. */
	bpf_seq_write(seq, scratch->data, bytes);
}

static __always_inline void append_argv_of(struct scratch *scratch, struct task_struct *task, struct mm_struct *mm)
{
	void *start = (void *)BPF_CORE_READ(mm, arg_start);
	__u64 bytes = BODY(scratch, wt_exec)->argv_bytes;
	__u16 flags = 0;
	__u32 at;

	if (bytes > ARGV_BYTES_MAX) {
		bytes = ARGV_BYTES_MAX;
		flags = ATTACHMENT_CUT;
	}
	at = scratch->bytes;    /* read last: older verifiers forget the bound of a number that is put aside meanwhile */
	if (!HAS_ROOM(at, ARGV_BYTES_MAX))
		return;
	if (bpf_copy_from_user_task(scratch->data + at + ATTACHMENT_BYTES, bytes, start, task, 0)) {
		bytes = 0;
		flags |= ATTACHMENT_UNREADABLE;
	}
	close_attachment(scratch, at, TAG_ARGV, flags, bytes);
}

SEC("iter.s/task")
int processes(struct bpf_iter__task *context)
{
	struct seq_file *seq = context->meta->seq;
	struct task_struct *task = context->task;
	struct scratch *scratch;
	struct mm_struct *mm;

	if (!task)
		return 0;
	scratch = begin_process(task);
	if (!scratch)
		return 0;
	mm = BPF_CORE_READ(task, mm);
	fill_executable(scratch, mm);
	if (mm)
		append_argv_of(scratch, task, mm);
	append_places(scratch, task);
	write_process(seq, scratch);
	return 0;
}

SEC("iter/task")
int processes_without_arguments(struct bpf_iter__task *context)
{
	struct seq_file *seq = context->meta->seq;
	struct task_struct *task = context->task;
	struct scratch *scratch;

	if (!task)
		return 0;
	scratch = begin_process(task);
	if (!scratch)
		return 0;
	fill_executable(scratch, BPF_CORE_READ(task, mm));
	append_places(scratch, task);
	write_process(seq, scratch);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
