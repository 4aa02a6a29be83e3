// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The smallest LSM program: whether the kernel admits it tells whether it admits any. It allows everything.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("lsm/bpf_prog")
int BPF_PROG(probe_lsm, void *prog, int ret)
{
	return ret;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
