// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// An io_uring gets a kernel thread that does its work: calls from now on that no seccomp filter sees.
// Prototype (6.1, 6.12): int uring_sqpoll(void)
#include "event.h"

SEC("lsm/uring_sqpoll")
int BPF_PROG(uring_sqpoll, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_URING_SQPOLL, hits);
	scratch = begin(HOOK_URING_SQPOLL, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 0, 0, 0);
	submit_critical(scratch, HOOK_URING_SQPOLL);
	return 0;
}
