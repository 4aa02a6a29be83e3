// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The wall clock or its time zone is set. `value` is the new time in seconds, 0 where only the zone is.
// Prototype (6.1, 6.12): int settime(const struct timespec64 *ts, const struct timezone *tz); either may be NULL
#include "event.h"

SEC("lsm/settime")
int BPF_PROG(time_set, const struct timespec64 *ts, const void *tz, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_TIME_SET, hits);
	scratch = begin(HOOK_TIME_SET, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, 0, 0, is_null(ts) ? 0 : ts->tv_sec);
	submit_critical(scratch, HOOK_TIME_SET);
	return 0;
}
