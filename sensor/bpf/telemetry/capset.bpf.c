// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process sets its capabilities. `new` is not filled in yet here: what is asked for is in `effective`.
// Prototype (6.1, 6.12): int capset(struct cred *new, const struct cred *old, const kernel_cap_t *effective,
// const kernel_cap_t *inheritable, const kernel_cap_t *permitted)
#include "event.h"

SEC("lsm/capset")
int BPF_PROG(capset, struct cred *new, const struct cred *old, const void *effective, const void *inheritable,
	     const void *permitted, int ret)
{
	struct scratch *scratch;
	struct wt_credentials *body;

	if (ret)
		return ret;
	COUNT(HOOK_CAPSET, hits);
	scratch = begin(HOOK_CAPSET, RECORD_CREDENTIALS, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_credentials);
	fill_credentials(body, new);
	bpf_probe_read_kernel(&body->capabilities, sizeof(body->capabilities), effective);
	submit_critical(scratch, HOOK_CAPSET);
	return 0;
}
