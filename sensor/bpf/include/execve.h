/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The mapping of a program by the very execve that starts it: that execve has told of it, and has been asked about. */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Libraries and the program loader are other files: their mappings count by themselves. */
static __always_inline bool is_program_of_execve(const struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return bpf_core_field_exists(task->in_execve) && BPF_CORE_READ_BITFIELD(task, in_execve) &&
	       task->mm->exe_file->f_inode == file->f_inode;
}
