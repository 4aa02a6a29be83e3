/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Where a task is among the control groups. Its place in the version 2 hierarchy speaks, unless that is only the root and
 * a version 1 hierarchy says more: the named one first, which systemd keeps, then any. Container runtimes name the folder
 * after the container.
 */
#pragma once
#include "event.h"

/* Hierarchies that are looked at: one for each controller and a few named ones. */
#define HIERARCHIES_MAX 32
/* Folders between a task and its hierarchy's root. */
#define CGROUP_STEPS_MAX 64

struct hierarchies {
	__u64 next;
	__u64 head;
	__u64 named;
	__u64 any;
};

static long look_at_hierarchy(__u32 step, void *context)
{
	struct hierarchies *found = context;
	struct cgrp_cset_link *link;
	struct cgroup_root *root;
	struct cgroup *cgroup;
	char first = 0;

	if (found->next == found->head)
		return 1;
	link = (void *)(found->next - bpf_core_field_offset(struct cgrp_cset_link, cgrp_link));
	cgroup = LOAD(struct cgrp_cset_link, link, cgrp);
	if (LOAD(struct cgroup, cgroup, level) > 0) {
		root = LOAD(struct cgroup, cgroup, root);
		bpf_core_read(&first, sizeof(first), &root->name);
		if (first && !found->named)
			found->named = (__u64)cgroup;
		if (!found->any)
			found->any = (__u64)cgroup;
	}
	found->next = (__u64)LOAD(struct cgrp_cset_link, link, cgrp_link.next);
	return 0;
}

static __always_inline struct cgroup *telling_cgroup(struct task_struct *task)
{
	struct css_set *set = FAR(struct task_struct, task)->cgroups;
	struct cgroup *unified = set->dfl_cgrp;
	struct hierarchies found = {};

	if (unified->level > 0)
		return unified;
	found.next = (__u64)set->cgrp_links.next;
	found.head = (__u64)set + bpf_core_field_offset(struct css_set, cgrp_links);
	bpf_loop(HIERARCHIES_MAX, look_at_hierarchy, &found, 0);
	if (found.named)
		return (struct cgroup *)found.named;
	return found.any ? (struct cgroup *)found.any : unified;
}

static __always_inline struct kernfs_node *folder_above(struct kernfs_node *node)
{
	struct kernfs_node___since_6_15 *newer = (void *)node;

	if (bpf_core_field_exists(newer->__parent))
		return LOAD(struct kernfs_node___since_6_15, newer, __parent);
	return LOAD(struct kernfs_node, node, parent);
}

/* One folder. The root has no name and nothing above it. */
static long cgroup_step(__u32 step, void *context)
{
	__u32 key = *(__u32 *)context;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	struct kernfs_node *node, *above;
	__u32 at;
	long bytes;

	if (!scratch)
		return 1;
	node = (struct kernfs_node *)scratch->walk.dentry;
	above = folder_above(node);
	if (!above) {
		scratch->walk.flags = 0;
		return 1;
	}
	at = scratch->bytes;
	if (at - scratch->walk.start > PATH_BYTES_MAX || !HAS_ROOM(at, NAME_BYTES_MAX))
		return 1;
	bytes = bpf_probe_read_kernel_str(scratch->data + at + ATTACHMENT_BYTES, NAME_BYTES_MAX, LOAD(struct kernfs_node, node, name));
	if (bytes <= 0) {
		scratch->walk.flags = ATTACHMENT_UNREADABLE;
		return 1;
	}
	scratch->bytes = at + bytes;
	scratch->walk.dentry = (__u64)above;
	return 0;
}

/* The folder's names from the leaf up to the hierarchy's root, as a path. */
static __always_inline void append_cgroup(struct scratch *scratch, struct task_struct *task)
{
	__u32 at = scratch->bytes;
	__u32 key = scratch->hook;

	scratch->walk.start = at;
	scratch->walk.flags = ATTACHMENT_CUT;   /* unless a step says that it came to the end */
	scratch->walk.dentry = (__u64)LOAD(struct cgroup, telling_cgroup(task), kn);
	bpf_loop(CGROUP_STEPS_MAX, cgroup_step, &key, 0);
	close_attachment(scratch, at, TAG_CGROUP, scratch->walk.flags, scratch->bytes - at);
}
