// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A mount namespace gets another root.
// Prototype (6.1, 6.12): int sb_pivotroot(const struct path *old_path, const struct path *new_path)
#include "event.h"

SEC("lsm/sb_pivotroot")
int BPF_PROG(pivot_root, const struct path *old_path, const struct path *new_path, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_PIVOT_ROOT, hits);
	scratch = begin(HOOK_PIVOT_ROOT, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 4, 0, 0);
	append_path(scratch, TAG_OLD_PATH, old_path->dentry, old_path->mnt);
	append_path(scratch, TAG_PATH, new_path->dentry, new_path->mnt);
	submit_critical(scratch, HOOK_PIVOT_ROOT);
	return 0;
}
