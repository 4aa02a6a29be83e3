// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Who may touch the guard: processes that execute a file of the manifest, see trust.h. These two judge no operation and are
// not counted.
// Prototypes (6.1, 6.12): void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
// void sched_process_fork(struct task_struct *parent, struct task_struct *child)
#include "own.h"

SEC("tp_btf/sched_process_exec")
int BPF_PROG(guard_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	trust_exec(task, bprm);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(guard_fork, struct task_struct *parent, struct task_struct *child)
{
	trust_fork(parent, child);
	return 0;
}
