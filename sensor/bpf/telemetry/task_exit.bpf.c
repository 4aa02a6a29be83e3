// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process ended: its last thread exits. Other threads are counted as filtered.
// Prototype (6.1, 6.12): void sched_process_exit(struct task_struct *p); 6.18 adds bool group_dead
#include "event.h"

/* Two last threads can both find the process without live threads; the first to set this reports it. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} exit_reported SEC(".maps");

static __always_inline bool is_last(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	__u32 *reported;

	if (signal->live.counter != 0)
		return false;
	if (signal->nr_threads <= 1)
		return true;
	reported = bpf_task_storage_get(&exit_reported, task->group_leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return !reported || __sync_val_compare_and_swap(reported, 0, 1) == 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(task_exit, struct task_struct *task)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct scratch *scratch;
	struct wt_exit *exit;
	__u32 status;

	COUNT(HOOK_TASK_EXIT, hits);
	if (!is_last(current)) {
		COUNT(HOOK_TASK_EXIT, filtered);
		return 0;
	}
	scratch = begin(HOOK_TASK_EXIT, RECORD_EXIT, sizeof(*exit));
	if (!scratch)
		return 0;
	exit = BODY(scratch, wt_exit);
	status = current->exit_code;
	exit->code = (status >> 8) & 0xff;
	exit->signal = status & 0x7f;
	submit_critical(scratch, HOOK_TASK_EXIT);
	return 0;
}
