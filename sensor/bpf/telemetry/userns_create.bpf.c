// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A user namespace is made: the usual first step of an unprivileged attack on the kernel.
// Prototype (6.1, 6.12): int userns_create(const struct cred *cred)
#include "event.h"

SEC("lsm/userns_create")
int BPF_PROG(userns_create, const struct cred *cred, int ret)
{
	struct scratch *scratch;
	struct wt_credentials *body;

	if (ret)
		return ret;
	COUNT(HOOK_USERNS_CREATE, hits);
	scratch = begin(HOOK_USERNS_CREATE, RECORD_CREDENTIALS, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_credentials);
	fill_credentials(body, cred);
	submit_critical(scratch, HOOK_USERNS_CREATE);
	return 0;
}
