// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Somebody wants to take away, move or cover the bpffs with our pins. mount(2) with MS_MOVE names what it moves only by a path
// in words, which is not looked at: while a policy is in force, such a move is refused in the mount namespace of the pins, but
// to process 1. Containers have namespaces of their own. A lazy unmount takes along what is mounted below: one that would take
// our bpffs, here or through a mount that shares with one here, is refused too.
// Prototypes (6.1, 6.12): int sb_umount(struct vfsmount *mnt, int flags)
// int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)
// int move_mount(const struct path *from_path, const struct path *to_path)
#include "own.h"

#define MS_MOVE 8192
#define MNT_DETACH 2

/* Steps from mount to mount below one; a larger tree is taken to have ours in it. */
#define TREE_STEPS_MAX (1 << 17)
/* Mounts that share with one. */
#define PEERS_MAX 4096

static __always_inline bool is_own_mount(struct vfsmount *mnt)
{
	return BPF_CORE_READ(mnt, mnt_sb, s_dev) == guard_settings.pins_dev;
}

struct tree_walk {
	__u64 root;
	__u64 at;
	bool is_climbing;
	bool is_found;
	bool is_done;
};

/* Depth first, as next_mnt in fs/namespace.c goes. */
static long tree_step(__u32 step, void *context)
{
	struct tree_walk *walk = context;
	__u64 parent, next;

	if (!walk->is_climbing) {
		__u64 sb = (__u64)LOAD(struct mount, walk->at, mnt.mnt_sb);

		if (LOAD(struct super_block, sb, s_dev) == guard_settings.pins_dev) {
			walk->is_found = true;
			return 1;
		}
		next = (__u64)LOAD(struct mount, walk->at, mnt_mounts.next);
		if (next != walk->at + bpf_core_field_offset(struct mount, mnt_mounts)) {
			walk->at = next - bpf_core_field_offset(struct mount, mnt_child);
			return 0;
		}
	}
	if (walk->at == walk->root) {
		walk->is_done = true;
		return 1;
	}
	parent = (__u64)LOAD(struct mount, walk->at, mnt_parent);
	next = (__u64)LOAD(struct mount, walk->at, mnt_child.next);
	walk->is_climbing = next == parent + bpf_core_field_offset(struct mount, mnt_mounts);
	walk->at = walk->is_climbing ? parent : next - bpf_core_field_offset(struct mount, mnt_child);
	return 0;
}

struct peer_walk {
	__u64 first;
	__u64 at;
	bool is_here;
};

/* Whether a mount or one that it shares with is in the namespace of the pins. */
static long peer_step(__u32 step, void *context)
{
	struct peer_walk *walk = context;
	__u64 namespace = (__u64)LOAD(struct mount, walk->at, mnt_ns);

	walk->is_here = LOAD(struct mnt_namespace, namespace, ns.inum) == guard_settings.pins_mnt_ns;
	walk->at = (__u64)LOAD(struct mount, walk->at, mnt_share.next) - bpf_core_field_offset(struct mount, mnt_share);
	return walk->is_here || walk->at == walk->first;
}

/* Whether unmounting this one lazily would take our bpffs away from the namespace in which the loader looks for it. */
static __always_inline bool takes_own_mount(struct vfsmount *mnt)
{
	__u64 mount = (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
	struct tree_walk tree = { .root = mount, .at = mount };
	struct peer_walk peers = {};

	bpf_loop(TREE_STEPS_MAX, tree_step, &tree, 0);
	if (tree.is_done && !tree.is_found)
		return false;
	peers.first = (__u64)LOAD(struct mount, mount, mnt_parent);
	peers.at = peers.first;
	bpf_loop(PEERS_MAX, peer_step, &peers, 0);
	return peers.is_here;
}

SEC("lsm/sb_umount")
int BPF_PROG(guard_umount, struct vfsmount *mnt, int flags, int ret)
{
	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_UMOUNT, hits);
	if ((!is_own_mount(mnt) && !(flags & MNT_DETACH && takes_own_mount(mnt))) || is_trusted_now()) {
		GUARD_COUNT(GUARD_GUARD_UMOUNT, filtered);
		return 0;
	}
	return refuse_tampering(GUARD_GUARD_UMOUNT, NULL, mnt->mnt_root, mnt);
}

SEC("lsm/sb_mount")
int BPF_PROG(guard_mount, const char *source, const struct path *path, const char *type, unsigned long flags, void *data,
	     int ret)
{
	struct task_struct *task = FAR(struct task_struct, bpf_get_current_task_btf());
	struct question question = {};
	bool is_move;

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_MOUNT, hits);
	is_move = flags & MS_MOVE && task->tgid != 1 && task->nsproxy->mnt_ns->ns.inum == guard_settings.pins_mnt_ns;
	if (is_move) {
		pick(&question);
		is_move = question.header;
	}
	if ((!is_move && !is_own_mount(path->mnt)) || is_trusted_now()) {
		GUARD_COUNT(GUARD_GUARD_MOUNT, filtered);
		return 0;
	}
	return refuse_tampering(GUARD_GUARD_MOUNT, NULL, path->dentry, path->mnt);
}

SEC("lsm/move_mount")
int BPF_PROG(guard_move_mount, const struct path *from, const struct path *to, int ret)
{
	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_MOVE_MOUNT, hits);
	if ((!is_own_mount(from->mnt) && !is_own_mount(to->mnt)) || is_trusted_now()) {
		GUARD_COUNT(GUARD_GUARD_MOVE_MOUNT, filtered);
		return 0;
	}
	return refuse_tampering(GUARD_GUARD_MOVE_MOUNT, NULL, from->dentry, from->mnt);
}
