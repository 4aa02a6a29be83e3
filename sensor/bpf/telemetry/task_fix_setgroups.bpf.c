// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process sets its supplementary groups. The list that it gets is in `new`; as many are taken as fit into a string.
// Prototype (6.1, 6.12): int task_fix_setgroups(struct cred *new, const struct cred *old)
#include "event.h"

SEC("lsm/task_fix_setgroups")
int BPF_PROG(task_fix_setgroups, struct cred *new, const struct cred *old, int ret)
{
	struct group_info *groups;
	struct scratch *scratch;
	struct wt_credentials *body;
	__u32 count;

	if (ret)
		return ret;
	COUNT(HOOK_TASK_FIX_SETGROUPS, hits);
	scratch = begin(HOOK_TASK_FIX_SETGROUPS, RECORD_CREDENTIALS, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_credentials);
	fill_credentials(body, new);
	groups = new->group_info;
	count = groups->ngroups;
	append_bytes(scratch, TAG_GROUPS, groups->gid, count * sizeof(groups->gid[0]));
	submit_critical(scratch, HOOK_TASK_FIX_SETGROUPS);
	return 0;
}
