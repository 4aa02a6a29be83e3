// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The guard object: every hook that denies, each in a file of its own. It needs nothing of the telemetry object, and once
// pinned nothing of user mode.
#include "guard/trust.bpf.c"
#include "guard/own_memory.bpf.c"
#include "guard/own_maps.bpf.c"
#include "guard/own_mount.bpf.c"
#include "guard/open.bpf.c"
#include "guard/digest.bpf.c"
#include "guard/map.bpf.c"
#include "guard/protect.bpf.c"
#include "guard/create.bpf.c"
#include "guard/link.bpf.c"
#include "guard/unlink.bpf.c"
#include "guard/rename.bpf.c"
#include "guard/truncate.bpf.c"
#include "guard/copy_up.bpf.c"
#include "guard/module.bpf.c"
#include "guard/connect.bpf.c"

/* The kernel admits LSM programs, and some helpers, only to GPL-compatible programs. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
