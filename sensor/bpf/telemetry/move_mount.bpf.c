// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A mount is put somewhere: moved, or put there for the first time by the newer calls (fsmount, open_tree). Such a mount is
// in no namespace of the caller's and has no old path: its type, its source and its root within its own file system tell
// what it is. `what` is 1 then.
// Prototype (6.1, 6.12): int move_mount(const struct path *from_path, const struct path *to_path)
#include "event.h"

SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from_path, const struct path *to_path, int ret)
{
	struct vfsmount *from = from_path->mnt;
	struct mnt_namespace *own;
	struct scratch *scratch;
	struct wt_system *body;
	struct mount *mount;
	bool is_detached;

	if (ret)
		return ret;
	COUNT(HOOK_MOVE_MOUNT, hits);
	scratch = begin(HOOK_MOVE_MOUNT, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	mount = (struct mount *)((__u64)from - bpf_core_field_offset(struct mount, mnt));
	own = BPF_CORE_READ(bpf_get_current_task_btf(), nsproxy, mnt_ns);
	is_detached = BPF_CORE_READ(mount, mnt_parent) == mount && BPF_CORE_READ(mount, mnt_ns) != own;
	body = BODY(scratch, wt_system);
	fill_system(body, 3, is_detached, 0);
	append_path(scratch, TAG_OLD_PATH, from_path->dentry, is_detached ? NULL : from);
	append_path(scratch, TAG_PATH, to_path->dentry, to_path->mnt);
	append_string(scratch, TAG_TYPE, BPF_CORE_READ(from, mnt_root, d_sb, s_type, name));
	append_string(scratch, TAG_NAME, BPF_CORE_READ(mount, mnt_devname));
	submit_critical(scratch, HOOK_MOVE_MOUNT);
	return 0;
}
