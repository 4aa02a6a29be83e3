// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A process gets a descriptor of a BPF map: it made one, or opened one by id or pin. `value` is how it may use it.
// Prototype (6.1, 6.12): int bpf_map(struct bpf_map *map, fmode_t fmode)
#include "event.h"

SEC("lsm/bpf_map")
int BPF_PROG(bpf_map_use, struct bpf_map *map, fmode_t fmode, int ret)
{
	struct scratch *scratch;
	struct wt_system *body;

	if (ret)
		return ret;
	COUNT(HOOK_BPF_MAP_USE, hits);
	scratch = begin(HOOK_BPF_MAP_USE, RECORD_SYSTEM, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_system);
	fill_system(body, map->id, map->map_type, fmode);
	append_string(scratch, TAG_NAME, map->name);
	submit_critical(scratch, HOOK_BPF_MAP_USE);
	return 0;
}
