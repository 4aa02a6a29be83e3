// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process changes its group ids (setgid, setregid, setresgid). The ids that it gets are in `new`; a call that changes
// none is filtered. setfsgid comes here too, and changes none of those that are reported.
// Prototype (6.1, 6.12): int task_fix_setgid(struct cred *new, const struct cred *old, int flags)
#include "event.h"

SEC("lsm/task_fix_setgid")
int BPF_PROG(task_fix_setgid, struct cred *new, const struct cred *old, int flags, int ret)
{
	struct scratch *scratch;
	struct wt_credentials *body;

	if (ret)
		return ret;
	COUNT(HOOK_TASK_FIX_SETGID, hits);
	if (new->gid.val == old->gid.val && new->egid.val == old->egid.val) {
		COUNT(HOOK_TASK_FIX_SETGID, filtered);
		return 0;
	}
	scratch = begin(HOOK_TASK_FIX_SETGID, RECORD_CREDENTIALS, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_credentials);
	fill_credentials(body, new);
	submit_critical(scratch, HOOK_TASK_FIX_SETGID);
	return 0;
}
