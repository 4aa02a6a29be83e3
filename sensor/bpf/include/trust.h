/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which processes are our own. Not a pid and not a name, which others can have: a bit that a process gets when it executes a
 * file of the manifest, and loses when it executes anything else.
 *
 * What it guarantees. A task is trusted only if its process, at its last exec after these programs were attached (or the
 * process that it was forked from and whose program and memory it still runs),
 *   - executed the very inode (device, number, generation) of an entry of `manifest`, which nobody can change after it is
 *     frozen: a copy, a script, `ld.so FILE` and a file put into the same path are other inodes;
 *   - was not traced, and its environment held no variable that begins with LD_ and fitted into ENVIRON_BYTES_MAX;
 * and since then nobody traced it: `is_trusted` looks at its tracer, and where the hook `ptrace_access_check` exists the
 * programs end the trust for good (`trust_end`) when another process attaches or writes into its memory.
 * What it does not: the content of the manifest's files (who may write them can become trusted; the guard denies that), and
 * processes that began before the load (they must execute themselves again).
 *
 * Every object that includes this has maps of its own. TRUST_NAME gives them other names, so that two objects can pin them
 * apart; define it before the inclusion. A name has at most 15 letters.
 */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "load.h"

#ifndef TRUST_NAME
#define TRUST_NAME(name) name
#endif
#define TRUST_MANIFEST TRUST_NAME(manifest)
#define TRUST_TASKS TRUST_NAME(trusted)
#define TRUST_SETTINGS TRUST_NAME(trust_settings)

#define MANIFEST_ENTRIES_MAX 16
/* A longer environment is not looked through: no trust. Debian's services have about 1 KiB. */
#define ENVIRON_BYTES_MAX 32768
#define ENVIRON_CHUNK_BYTES 128
/* Chunks and variables that are looked at: enough for ENVIRON_BYTES_MAX full chunks, and for 768 short variables. */
#define ENVIRON_STEPS_MAX 1024

/* Filled and frozen by the loader before the programs are attached. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MANIFEST_ENTRIES_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, struct wt_identity);
	__type(value, __u32);
} TRUST_MANIFEST SEC(".maps");

/* Set by the loader before the load. */
const volatile struct wt_trust_settings TRUST_SETTINGS SEC(".rodata.trust");

/* Kept with the leader of the thread group: the role, 0 for none. The kernel frees it with the task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} TRUST_TASKS SEC(".maps");

struct environ_walk {
	__u64 at;
	__u64 end;
	bool is_inside;                         /* `at` is inside a variable that is longer than a chunk */
	bool is_clean;                          /* the end was reached and no variable begins with LD_ */
	char chunk[ENVIRON_CHUNK_BYTES];
};

static long environ_step(__u32 step, void *context)
{
	struct environ_walk *walk = context;
	long bytes;

	if (walk->at >= walk->end) {
		walk->is_clean = true;
		return 1;
	}
	bytes = bpf_probe_read_user_str(walk->chunk, sizeof(walk->chunk), (void *)walk->at);
	if (bytes <= 0)
		return 1;                       /* not readable: not known, so not clean */
	if (!walk->is_inside && walk->chunk[0] == 'L' && walk->chunk[1] == 'D' && walk->chunk[2] == '_')
		return 1;
	/* A cut string comes back as long as the buffer, its last byte being the NUL that was put there. */
	walk->is_inside = bytes == sizeof(walk->chunk);
	walk->at += walk->is_inside ? bytes - 1 : bytes;
	return 0;
}

/* Only right at exec, in the task that executes: nobody else can write to its new memory yet. */
static __always_inline bool has_clean_environ(struct mm_struct *mm)
{
	struct environ_walk walk = { .at = mm->env_start, .end = mm->env_end };

	if (walk.end - walk.at > ENVIRON_BYTES_MAX)
		return false;
	bpf_loop(ENVIRON_STEPS_MAX, environ_step, &walk, 0);
	return walk.is_clean;
}

/* The role that an exec gives. From sched_process_exec: the arguments are that tracepoint's. */
static __always_inline __u32 trust_judge(struct task_struct *task, struct linux_binprm *bprm)
{
	struct mm_struct *mm = FAR(struct task_struct, task)->mm;
	struct inode *inode = FAR(struct linux_binprm, bprm)->file->f_inode;
	struct wt_identity identity = {
		.inode = inode->i_ino,
		.dev = inode->i_sb->s_dev,
		.generation = inode->i_generation,
	};
	__u32 *role;

	if (!MAY_HOLD(TRUST_SETTINGS.own_bits, identity.inode, identity.generation))
		return 0;
	role = bpf_map_lookup_elem(&TRUST_MANIFEST, &identity);
	if (!role || !mm || task->ptrace || !has_clean_environ(mm))
		return 0;
	return *role;
}

/* Most processes have no storage at all, and a look into it costs many times more than this one. */
static __always_inline bool has_storage(const struct task_struct *task)
{
	return !bpf_core_field_exists(task->bpf_storage) || FAR(struct task_struct, task)->bpf_storage;
}

static __always_inline void trust_set(struct task_struct *task, __u32 role)
{
	__u32 *held;

	if (!role && !has_storage(task))
		return;
	held = bpf_task_storage_get(&TRUST_TASKS, task, 0, role ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	if (held)
		*held = role;                   /* without storage there is no trust */
}

/* At sched_process_exec. The task is its group's leader then, whichever thread called. Returns the role. */
static __always_inline __u32 trust_exec(struct task_struct *task, struct linux_binprm *bprm)
{
	__u32 role = trust_judge(task, bprm);

	trust_set(task, role);
	return role;
}

/* At sched_process_fork: the child runs the same program in a copy of the same memory until it executes another. */
static __always_inline void trust_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 *held;

	if (child->pid != child->tgid || !has_storage(parent->group_leader))
		return;                         /* a thread: its leader's role counts */
	held = bpf_task_storage_get(&TRUST_TASKS, parent->group_leader, 0, 0);
	if (held && *held)
		trust_set(child, *held);
}

/* Another process gets hold of the task: what it runs from now on need not be ours. */
static __always_inline void trust_end(struct task_struct *task)
{
	__u32 *held = bpf_task_storage_get(&TRUST_TASKS, task->group_leader, 0, 0);

	if (held)
		*held = 0;
}

/* ROLE_WATERTIGHT, ROLE_LOADER or 0. */
static __always_inline __u32 trusted_role(struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	__u32 *held;

	if (!has_storage(leader))
		return 0;
	held = bpf_task_storage_get(&TRUST_TASKS, leader, 0, 0);
	return held && *held && !task->ptrace ? *held : 0;
}

static __always_inline bool is_trusted(struct task_struct *task)
{
	return trusted_role(task) != 0;
}
