// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A signal to one of our own processes; those to others are filtered.
// Prototype (6.1, 6.12): int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig,
// const struct cred *cred)
#include "event.h"

/* Process number -> start. Filled by the host through its descriptor; the start tells a number that was given anew. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} protected_processes SEC(".maps");

SEC("lsm/task_kill")
int BPF_PROG(task_kill, struct task_struct *task, void *info, int sig, const struct cred *cred, int ret)
{
	struct scratch *scratch;
	struct wt_target *body;
	__u64 *protected_ns, start_ns;
	__u32 pid;

	if (ret)
		return ret;
	COUNT(HOOK_TASK_KILL, hits);
	pid = task->tgid;
	start_ns = task->group_leader->start_boottime;
	protected_ns = bpf_map_lookup_elem(&protected_processes, &pid);
	if (!protected_ns || *protected_ns != start_ns) {
		COUNT(HOOK_TASK_KILL, filtered);
		return 0;
	}
	scratch = begin(HOOK_TASK_KILL, RECORD_TARGET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_target);
	body->pid = pid;
	body->what = sig;
	body->start_ns = start_ns;
	submit_critical(scratch, HOOK_TASK_KILL);
	return 0;
}
