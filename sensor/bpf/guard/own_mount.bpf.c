// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Somebody wants to take away, move or cover the bpffs with our pins. mount(2) with MS_MOVE names what it moves only by a path
// in words, which is not looked at: while a policy is in force, such a move is refused in the mount namespace of the pins, but
// to process 1. Containers have namespaces of their own.
// Prototypes (6.1, 6.12): int sb_umount(struct vfsmount *mnt, int flags)
// int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)
// int move_mount(const struct path *from_path, const struct path *to_path)
#include "own.h"

#define MS_MOVE 8192

static __always_inline bool is_own_mount(struct vfsmount *mnt)
{
	return BPF_CORE_READ(mnt, mnt_sb, s_dev) == guard_settings.pins_dev;
}

SEC("lsm/sb_umount")
int BPF_PROG(guard_umount, struct vfsmount *mnt, int flags, int ret)
{
	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_UMOUNT, hits);
	if (!is_own_mount(mnt) || is_trusted_now()) {
		GUARD_COUNT(GUARD_GUARD_UMOUNT, filtered);
		return 0;
	}
	return refuse_tampering(GUARD_GUARD_UMOUNT, NULL, mnt->mnt_root, mnt);
}

SEC("lsm/sb_mount")
int BPF_PROG(guard_mount, const char *source, const struct path *path, const char *type, unsigned long flags, void *data,
	     int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
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
