/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which file and network operations go without an event: those of our own processes, and those that the administrator's
 * filters name. Filters are typed keys in a map, filled and frozen before the load: here is looked up, nothing is parsed.
 * Process, BPF, ptrace and all other events of the critical ring never pass through here.
 */
#pragma once
#include "event.h"
#include "trust.h"

/* Components above a file that are looked at; a file deeper than this below a muted folder is reported. */
#define UNDER_STEPS_MAX 64
/* Levels of the cgroup tree that are looked at. */
#define CGROUP_LEVELS_MAX 8

const volatile struct wt_settings settings SEC(".rodata.settings");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FILTERS_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, struct wt_filter_key);
	__type(value, struct wt_filter_rule);
} filters SEC(".maps");

/* The executable as it was at exec: a process can make the kernel name another one later (PR_SET_MM_EXE_FILE). */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wt_identity);
} executables SEC(".maps");

static __always_inline void remember_executable(struct task_struct *task, const struct wt_identity *executable)
{
	struct wt_identity *held;

	if (!settings.executables)
		return;
	held = bpf_task_storage_get(&executables, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (held)
		*held = *executable;
}

/* At sched_process_exec. */
static __always_inline void remember_exec(struct task_struct *task, struct inode *inode)
{
	struct wt_identity executable = {
		.inode = inode->i_ino,
		.dev = inode->i_sb->s_dev,
		.generation = inode->i_generation,
	};

	remember_executable(task, &executable);
}

/* At sched_process_fork. */
static __always_inline void remember_fork(struct task_struct *parent, struct task_struct *child)
{
	struct wt_identity *held;

	if (!settings.executables || child->pid != child->tgid)
		return;
	held = bpf_task_storage_get(&executables, parent->group_leader, 0, 0);
	if (held)
		remember_executable(child, held);
}

static __always_inline void identify(struct wt_filter_key *key, const struct inode *inode)
{
	key->number = LOAD(struct inode, inode, i_ino);
	key->dev = LOAD(struct super_block, LOAD(struct inode, inode, i_sb), s_dev);
	key->generation = LOAD(struct inode, inode, i_generation);
}

static __always_inline bool is_in_force(const struct wt_filter_key *key, __u32 class)
{
	struct wt_filter_rule *rule = bpf_map_lookup_elem(&filters, key);

	return rule && rule->classes & class;
}

static __always_inline bool is_muted_executable(struct task_struct *task, __u32 class)
{
	struct wt_filter_key key = { .kind = FILTER_EXECUTABLE };
	struct wt_identity *held = bpf_task_storage_get(&executables, task->group_leader, 0, 0);

	if (held) {
		key.number = held->inode;
		key.dev = held->dev;
		key.generation = held->generation;
	} else {                                /* began before the load: as the kernel has it now */
		struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);

		if (!inode)
			return false;
		identify(&key, inode);
	}
	return is_in_force(&key, class);
}

struct under_walk {
	__u64 dentry;
	bool is_found;
};

static long under_step(__u32 step, void *context)
{
	struct under_walk *walk = context;
	struct dentry *dentry = (struct dentry *)walk->dentry;
	struct dentry *parent = LOAD(struct dentry, dentry, d_parent);
	struct wt_filter_key key = { .kind = FILTER_UNDER };
	struct inode *inode;

	if (parent == dentry)
		return 1;
	inode = LOAD(struct dentry, parent, d_inode);
	if (!inode)
		return 1;
	identify(&key, inode);
	if (is_in_force(&key, CLASS_FILE)) {
		walk->is_found = true;
		return 1;
	}
	walk->dentry = (__u64)parent;
	return 0;
}

/* By folders of the file system, not by names: a bind mount and another name of the folder lead to the same ones. */
static __always_inline bool is_under_muted(struct dentry *dentry)
{
	struct under_walk walk = { .dentry = (__u64)dentry };

	bpf_loop(UNDER_STEPS_MAX, under_step, &walk, 0);
	return walk.is_found;
}

/* Both users: a setuid program that somebody in the range starts is reported. */
static __always_inline bool is_muted_user(struct task_struct *task, __u32 class)
{
	const struct cred *cred = FAR(struct task_struct, task)->real_cred;
	__u32 uid = cred->uid.val, euid = cred->euid.val;

	for (__u32 at = 0; at < USER_RANGES_MAX && at < settings.users; at++) {
		struct wt_filter_key key = { .kind = FILTER_USERS, .number = at };
		struct wt_filter_rule *rule = bpf_map_lookup_elem(&filters, &key);

		if (rule && rule->classes & class && uid >= rule->low && uid <= rule->high && euid >= rule->low &&
		    euid <= rule->high)
			return true;
	}
	return false;
}

static __always_inline bool is_muted_cgroup(__u32 class)
{
	for (int level = 0; level < CGROUP_LEVELS_MAX; level++) {
		struct wt_filter_key key = { .kind = FILTER_CGROUP };

		key.number = bpf_get_current_ancestor_cgroup_id(level);
		if (!key.number)
			return false;           /* above is the process's own cgroup */
		if (is_in_force(&key, class))
			return true;
	}
	return false;
}

/*
 * Cheapest first. `dentry` is the file that is acted on, `other` the second one of a rename or link: a filter by folder
 * holds only if both lie under it, else something came out of it or went in. NULL where there is none.
 */
static __always_inline bool is_muted(__u32 class, struct dentry *dentry, struct dentry *other)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (is_trusted(task))
		return true;
	if (settings.executables && is_muted_executable(task, class))
		return true;
	if (settings.users && is_muted_user(task, class))
		return true;
	if (settings.cgroups && is_muted_cgroup(class))
		return true;
	return settings.folders && dentry && is_under_muted(dentry) && (!other || is_under_muted(other));
}
