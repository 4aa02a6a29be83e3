// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The kernel is handed a module or a kernel to boot from memory, without a file. `command` is which.
// Prototype (6.1, 6.12): int kernel_load_data(enum kernel_load_data_id id, bool contents)
#include "event.h"

SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_load_data, int id, bool contents, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_KERNEL_LOAD_DATA, hits);
	scratch = begin(HOOK_KERNEL_LOAD_DATA, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, id, 0, contents);
	submit_critical(scratch, HOOK_KERNEL_LOAD_DATA);
	return 0;
}
