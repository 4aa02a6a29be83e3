// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A performance counter is opened. `what` is the kernel's PERF_SECURITY_* question; `command` and `value` are type and
// config, where the kernel tells them, else all ones and 0.
// Prototype (6.1): int perf_event_open(struct perf_event_attr *attr, int type)
// Prototype (6.16, and 6.12 from a stable update on): int perf_event_open(int type)
// Version numbers don't tell which it is; the first argument does, a pointer or a small number.
#include "event.h"

SEC("lsm/perf_event_open")
int perf_open(__u64 *ctx)
{
	struct perf_event_attr *attr = (void *)ctx[0];
	__u64 second = ctx[1];
	__u32 command = ~0u, what;
	struct scratch *scratch;
	struct wt_system *body;
	__u64 value = 0;

	if ((__u64)attr < PAGE_BYTES) {
		if ((int)second)
			return (int)second;
		what = (__u64)attr;
	} else {
		what = second;
		command = BPF_CORE_READ(attr, type);
		value = BPF_CORE_READ(attr, config);
	}
	COUNT(HOOK_PERF_OPEN, hits);
	scratch = begin(HOOK_PERF_OPEN, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, command, what, value);
	submit_critical(scratch, HOOK_PERF_OPEN);
	return 0;
}
