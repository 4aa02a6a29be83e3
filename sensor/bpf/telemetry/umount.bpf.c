// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A mount is taken away. It does not see a mount that is moved away: that is move_mount.
// Prototype (6.1, 6.12): int sb_umount(struct vfsmount *mnt, int flags)
#include "event.h"

SEC("lsm/sb_umount")
int BPF_PROG(umount, struct vfsmount *mnt, int flags, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_UMOUNT, hits);
	scratch = begin(HOOK_UMOUNT, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 2, 0, (__u32)flags);
	append_path(scratch, TAG_PATH, mnt->mnt_root, mnt);
	submit_critical(scratch, HOOK_UMOUNT);
	return 0;
}
