// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process is attached to, or its memory is written to: ptrace, /proc/pid/mem, process_vm_writev, pidfd_getfd. Mere reading
// is filtered: every ps does it. What is attached to is no more trusted.
// Prototype (6.1, 6.12): int ptrace_access_check(struct task_struct *child, unsigned int mode)
#include "event.h"
#include "trust.h"

SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access, struct task_struct *child, unsigned int mode, int ret)
{
	struct scratch *scratch;
	struct wt_target *body;

	if (ret)
		return ret;
	COUNT(HOOK_PTRACE_ACCESS, hits);
	if (!(mode & PTRACE_MODE_ATTACH)) {
		COUNT(HOOK_PTRACE_ACCESS, filtered);
		return 0;
	}
	trust_end(child);
	scratch = begin(HOOK_PTRACE_ACCESS, RECORD_TARGET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_target);
	body->pid = child->tgid;
	body->what = mode;
	body->start_ns = child->group_leader->start_boottime;
	submit_critical(scratch, HOOK_PTRACE_ACCESS);
	return 0;
}
