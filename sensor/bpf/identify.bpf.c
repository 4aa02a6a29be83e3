// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Tells the reading process the kernel's own identity of each of its open files: what stat(2) says differs where a file
// system hides its device (btrfs, overlayfs), and it knows no generation.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "abi.h"

SEC("iter/task_file")
int identify(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct wt_open_file open = {};

	/* The program runs in the process that reads. Both numbers are of the first pid namespace, so containers agree. */
	if (!task || !file || task->tgid != bpf_get_current_task_btf()->tgid)
		return 0;
	open.inode = file->f_inode->i_ino;
	open.dev = file->f_inode->i_sb->s_dev;
	open.generation = file->f_inode->i_generation;
	open.fd = ctx->fd;
	bpf_seq_write(ctx->meta->seq, &open, sizeof(open));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
