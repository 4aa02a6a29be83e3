// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Somebody wants to get hold of a process of ours: by ptrace, /proc/PID/mem or process_vm_writev. Looking (PTRACE_MODE_READ,
// which ps needs) is allowed.
// Prototype (6.1, 6.12): int ptrace_access_check(struct task_struct *child, unsigned int mode)
#include "own.h"

SEC("lsm/ptrace_access_check")
int BPF_PROG(guard_ptrace, struct task_struct *child, unsigned int mode, int ret)
{
	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_PTRACE, hits);
	if (!(mode & PTRACE_MODE_ATTACH) || !is_trusted(child) || is_trusted_now()) {
		GUARD_COUNT(GUARD_GUARD_PTRACE, filtered);
		return 0;
	}
	return refuse_tampering(GUARD_GUARD_PTRACE, NULL, NULL, NULL);
}
