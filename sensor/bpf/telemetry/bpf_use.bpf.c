// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// bpf(2), as far as it makes, attaches or opens something; the rest is traffic. `what` is the type of a new map or program
// or the attach type, `value` the id of what is opened.
// Prototype (6.1, 6.12): int bpf(int cmd, union bpf_attr *attr, unsigned int size); attr is the kernel's copy
#include "event.h"

enum {
	BPF_MAP_CREATE = 0, BPF_PROG_LOAD = 5, BPF_PROG_ATTACH = 8, BPF_PROG_GET_FD_BY_ID = 13, BPF_MAP_GET_FD_BY_ID = 14,
	BPF_RAW_TRACEPOINT_OPEN = 17, BPF_BTF_GET_FD_BY_ID = 19, BPF_LINK_CREATE = 28, BPF_LINK_GET_FD_BY_ID = 30,
};

#define REPORTED_COMMANDS (1u << BPF_MAP_CREATE | 1u << BPF_PROG_LOAD | 1u << BPF_PROG_ATTACH | \
	1u << BPF_PROG_GET_FD_BY_ID | 1u << BPF_MAP_GET_FD_BY_ID | 1u << BPF_RAW_TRACEPOINT_OPEN | \
	1u << BPF_BTF_GET_FD_BY_ID | 1u << BPF_LINK_CREATE | 1u << BPF_LINK_GET_FD_BY_ID)

SEC("lsm/bpf")
int BPF_PROG(bpf_use, int cmd, union bpf_attr *attr, unsigned int size, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;
	union bpf_attr words = {};

	if (ret)
		return ret;
	if ((__u32)cmd >= 32 || !(REPORTED_COMMANDS & (1u << cmd))) {
		COUNT_HIT_FILTERED(HOOK_BPF_USE);
		return 0;
	}
	COUNT(HOOK_BPF_USE, hits);
	scratch = begin(HOOK_BPF_USE, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	bpf_probe_read_kernel(&words, sizeof(words), attr);
	fill_system(body, cmd, 0, 0);
	if (cmd == BPF_MAP_CREATE || cmd == BPF_PROG_LOAD)
		body->what = words.word[0];
	else if (cmd == BPF_PROG_ATTACH || cmd == BPF_LINK_CREATE)
		body->what = words.word[2];
	else if (cmd != BPF_RAW_TRACEPOINT_OPEN)
		body->value = words.word[0];
	submit_critical(scratch, HOOK_BPF_USE);
	return 0;
}
