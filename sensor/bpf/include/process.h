/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What every object needs: a test for NULL that the verifier can't take away, and the process in a record. */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"
#include "load.h"

#define PAGE_BYTES 4096

/*
 * Whether a pointer is NULL, for certain. From 6.4 on the verifier takes a hook's arguments, and some pointers in them,
 * for valid: it removes a plain test for NULL and lets loads through unguarded. Yet some are NULL: mmap_file's file, a new
 * name's d_inode. A comparison with another number than 0 it leaves in; the plain one is for kernels that know better.
 */
static __always_inline bool is_null(const void *pointer)
{
	if (!pointer)
		return true;
	asm volatile("" : "+r"(pointer));
	return (__u64)pointer < PAGE_BYTES;
}

/* The kernel's kernel_cap_t is two words up to 6.2 and one number after: 8 bytes in both. */
struct cred___two_words { struct { u32 cap[2]; } cap_effective; } __attribute__((preserve_access_index));
struct cred___one_number { struct { u64 val; } cap_effective; } __attribute__((preserve_access_index));

static __always_inline __u64 effective_capabilities(const struct cred *cred)
{
	const struct cred___one_number *newer = (const void *)cred;
	const struct cred___two_words *older = (const void *)cred;

	if (bpf_core_field_exists(newer->cap_effective.val))
		return newer->cap_effective.val;
	return *(const __u64 *)older->cap_effective.cap; /* both at once; the low word comes first */
}

/* All but the control group and the thread's name. */
static __always_inline void fill_process(struct wt_process *to, struct task_struct *task)
{
	struct task_struct *far = FAR(struct task_struct, task);
	struct task_struct *leader = far->group_leader;
	struct task_struct *parent = leader->real_parent;
	const struct cred *cred = far->real_cred;
	struct nsproxy *namespaces = far->nsproxy;

	to->pid = task->tgid;
	to->tid = task->pid;
	to->start_ns = leader->start_boottime;
	to->parent_pid = parent->tgid;
	to->parent_start_ns = parent->group_leader->start_boottime;
	to->loginuid = task->loginuid.val;
	to->uid = cred->uid.val;
	to->gid = cred->gid.val;
	to->euid = cred->euid.val;
	to->egid = cred->egid.val;
	to->capabilities = effective_capabilities(cred);
	to->user_ns = cred->user_ns->ns.inum;
	to->mnt_ns = 0;
	to->pid_ns = 0;
	if (namespaces) {
		to->mnt_ns = namespaces->mnt_ns->ns.inum;
		to->pid_ns = namespaces->pid_ns_for_children->ns.inum;
	}
	to->reserved = 0;
}

static __always_inline void fill_current(struct wt_process *to)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const __u64 *name = (const void *)task->comm;

	fill_process(to, task);
	to->cgroup_id = bpf_get_current_cgroup_id();
	/* Plain loads: they cost less than the call that would take the letters. */
#pragma unroll
	for (int word = 0; word < sizeof(to->comm) / sizeof(*name); word++)
		__builtin_memcpy(to->comm + word * sizeof(*name), &name[word], sizeof(*name));
}
