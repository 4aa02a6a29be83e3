// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Somebody wants a writable descriptor of a map: by its id, from a pin, or by making one. Without this root could empty the
// policy. Maps of ours are known by their names: another who names his map so can't use it, which harms nobody else.
// Prototype (6.1, 6.12): int bpf_map(struct bpf_map *map, fmode_t fmode)
#include "own.h"

/* The letters "wtg_" and ".bss.wtg" as numbers. */
#define OWN_PREFIX 0x5f677477u
#define OWN_VARIABLES 0x6774772e7373622eull

SEC("lsm/bpf_map")
int BPF_PROG(guard_bpf_map, struct bpf_map *map, fmode_t fmode, int ret)
{
	__u64 name = 0;
	bool is_own;

	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_BPF_MAP, hits);
	bpf_probe_read_kernel(&name, sizeof(name), map->name);
	is_own = (__u32)name == OWN_PREFIX || name == OWN_VARIABLES;
	if (!is_own || !(fmode & FMODE_WRITE) || is_trusted_now()) {
		GUARD_COUNT(GUARD_GUARD_BPF_MAP, filtered);
		return 0;
	}
	return refuse_tampering(GUARD_GUARD_BPF_MAP, NULL, NULL, NULL);
}
