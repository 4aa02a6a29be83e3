// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process changes its user ids. The ids that it gets are in `new`; a call that changes none is filtered.
// Prototype (6.1, 6.12): int task_fix_setuid(struct cred *new, const struct cred *old, int flags)
#include "event.h"

SEC("lsm/task_fix_setuid")
int BPF_PROG(task_fix_setuid, struct cred *new, const struct cred *old, int flags, int ret)
{
	struct scratch *scratch;
	struct wt_credentials *body;

	if (ret)
		return ret;
	COUNT(HOOK_TASK_FIX_SETUID, hits);
	if (new->uid.val == old->uid.val && new->gid.val == old->gid.val && new->euid.val == old->euid.val &&
	    new->egid.val == old->egid.val) {
		COUNT(HOOK_TASK_FIX_SETUID, filtered);
		return 0;
	}
	scratch = begin(HOOK_TASK_FIX_SETUID, RECORD_CREDENTIALS, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_credentials);
	fill_credentials(body, new);
	submit_critical(scratch, HOOK_TASK_FIX_SETUID);
	return 0;
}
