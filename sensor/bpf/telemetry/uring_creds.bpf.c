// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// An io_uring request runs with credentials registered before: `what` is their effective user, `value` the real one.
// Prototype (6.1, 6.12): int uring_override_creds(const struct cred *new)
#include "event.h"

SEC("lsm/uring_override_creds")
int BPF_PROG(uring_creds, const struct cred *new, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_URING_CREDS, hits);
	scratch = begin(HOOK_URING_CREDS, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 0, new->euid.val, new->uid.val);
	submit_critical(scratch, HOOK_URING_CREDS);
	return 0;
}
