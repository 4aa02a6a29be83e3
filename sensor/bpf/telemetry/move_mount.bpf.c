// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A mount is put somewhere: moved, or put there for the first time by the newer calls (fsmount, open_tree); the old path is
// empty then.
// Prototype (6.1, 6.12): int move_mount(const struct path *from_path, const struct path *to_path)
#include "event.h"

SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from_path, const struct path *to_path, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_MOVE_MOUNT, hits);
	scratch = begin(HOOK_MOVE_MOUNT, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 3, 0, 0);
	append_path(scratch, TAG_OLD_PATH, from_path->dentry, from_path->mnt);
	append_path(scratch, TAG_PATH, to_path->dentry, to_path->mnt);
	submit_critical(scratch, HOOK_MOVE_MOUNT);
	return 0;
}
