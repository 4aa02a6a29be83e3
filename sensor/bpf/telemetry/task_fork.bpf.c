// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process was created. Threads are counted as filtered: they are no processes.
// Prototype (6.1, 6.12, 6.18): void sched_process_fork(struct task_struct *parent, struct task_struct *child)
#include "filter.h"

SEC("tp_btf/sched_process_fork")
int BPF_PROG(task_fork, struct task_struct *parent, struct task_struct *child)
{
	struct scratch *scratch;
	struct wt_fork *fork;

	COUNT(HOOK_TASK_FORK, hits);
	trust_fork(parent, child);
	remember_fork(parent, child);
	if (child->pid != child->tgid) {
		COUNT(HOOK_TASK_FORK, filtered);
		return 0;
	}
	scratch = begin(HOOK_TASK_FORK, RECORD_FORK, sizeof(*fork));
	if (!scratch)
		return 0;
	fork = BODY(scratch, wt_fork);
	fork->child_pid = child->tgid;
	fork->child_tid = child->pid;
	fork->child_start_ns = child->start_boottime;
	submit_critical(scratch, HOOK_TASK_FORK);
	return 0;
}
