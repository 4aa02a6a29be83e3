/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guard's protection of itself against root: of its pins, its mount, its maps, its executables. Only a process with the
 * trust bit may touch those. A reboot always ends it all, and `watertight policy unseal` does.
 */
#pragma once
#include "guard.h"
#define TRUST_NAME(name) wtg_##name
#include "trust.h"

/* Where our pins are; set by the loader before the load, and read-only from then on. */
const volatile struct wt_guard_settings guard_settings SEC(".rodata.guard");

#define PIN_STEPS_MAX 8

/* Whether this is our folder of pins or something in it. */
static __always_inline bool is_own_pin(struct dentry *dentry)
{
	if (LOAD(struct super_block, LOAD(struct dentry, dentry, d_sb), s_dev) != guard_settings.pins_dev)
		return false;
	for (int step = 0; step < PIN_STEPS_MAX; step++) {
		struct dentry *parent = LOAD(struct dentry, dentry, d_parent);

		if (LOAD(struct inode, LOAD(struct dentry, dentry, d_inode), i_ino) == guard_settings.pins_inode)
			return true;
		if (parent == dentry)
			return false;
		dentry = parent;
	}
	return true;
}

static __always_inline bool is_own_executable(struct inode *inode)
{
	struct wt_identity identity = { .inode = inode->i_ino, .generation = inode->i_generation };

	if (!MAY_HOLD(wtg_trust_settings.own_bits, identity.inode, identity.generation))
		return false;
	identity.dev = FAR(struct inode, inode)->i_sb->s_dev;
	return bpf_map_lookup_elem(&wtg_manifest, &identity);
}

/* Of a name, which need not have a file. */
static __always_inline bool is_own_if_any(struct inode *inode)
{
	return !is_null(inode) && is_own_executable(inode);
}

static __always_inline bool is_trusted_now(void)
{
	return is_trusted(bpf_get_current_task_btf());
}

/* Refuses, and reports it as what it is. */
static __always_inline int refuse_tampering(__u32 hook, struct inode *inode, struct dentry *dentry, struct vfsmount *mnt)
{
	struct question question = { .decided = ON_TAMPER, .mode = POLICY_DENY, .matched = POLICY_OWN };

	report(&question, hook, is_null(inode) ? NULL : inode, dentry, mnt);
	return -EPERM;
}
