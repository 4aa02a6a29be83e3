// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The telemetry object: every hook that collects, each in a file of its own. It denies nothing.
#include "telemetry/task_fork.bpf.c"
#include "telemetry/task_exec.bpf.c"
#include "telemetry/task_exit.bpf.c"
#include "telemetry/sock_state.bpf.c"

/* The kernel admits LSM programs, and some helpers, only to GPL-compatible programs. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
