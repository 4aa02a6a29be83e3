// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// mount(2): a new mount, a bind, a remount or a move, by `value`. Type and source may be missing.
// Prototype (6.1, 6.12): int sb_mount(const char *dev_name, const struct path *path, const char *type,
// unsigned long flags, void *data)
#include "event.h"

SEC("lsm/sb_mount")
int BPF_PROG(mount, const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_MOUNT, hits);
	scratch = begin(HOOK_MOUNT, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 1, 0, flags);
	append_path(scratch, TAG_PATH, path->dentry, path->mnt);
	if (dev_name)
		append_string(scratch, TAG_NAME, dev_name);
	if (type)
		append_string(scratch, TAG_TYPE, type);
	submit_critical(scratch, HOOK_MOUNT);
	return 0;
}
