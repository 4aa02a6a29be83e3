/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a hook of the file or net ring does before it makes a record: it leaves out what is muted, and when its ring is
 * nearly full it counts by process and hook instead of writing. User space reads the counts and tells them as events:
 * the sum of those is the counter `aggregated`.
 */
#pragma once
#include "filter.h"

/* Counting begins above three quarters of the ring and ends below one half, so that it does not flicker. */
#define COUNTING_FROM(ring_bytes) ((ring_bytes) / 4 * 3)
#define COUNTING_UNTIL(ring_bytes) ((ring_bytes) / 2)

struct aggregate {
	__u64 count;
	struct wt_process process;
};

struct aggregate_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AGGREGATES_MAX);
	__type(key, struct wt_aggregate_key);
	__type(value, struct aggregate);
};

struct aggregate_table aggregates_a SEC(".maps"), aggregates_b SEC(".maps");

/*
 * The table in use. User space puts the other one in its place; the kernel returns from that only when no program holds
 * the old one any more, so it can be read and emptied without losing a count.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct aggregate_table);
} aggregates SEC(".maps") = { .values = { [0] = &aggregates_a } };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RING_COUNT);
	__type(key, __u32);
	__type(value, struct wt_pressure);
} pressure SEC(".maps");

static __always_inline bool is_counting(void *ring, enum wt_ring which, __u64 ring_bytes)
{
	__u32 key = which;
	struct wt_pressure *state = bpf_map_lookup_elem(&pressure, &key);
	__u64 waiting = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);

	if (!state)
		return false;
	if (!state->is_counting) {
		if (waiting <= COUNTING_FROM(ring_bytes))
			return false;
		if (__sync_val_compare_and_swap(&state->is_counting, 0, 1) == 0) {
			state->began_ns = bpf_ktime_get_boot_ns();
			__sync_fetch_and_add(&state->times, 1);
		}
		return true;
	}
	if (waiting >= COUNTING_UNTIL(ring_bytes))
		return true;
	if (__sync_val_compare_and_swap(&state->is_counting, 1, 0) == 1)
		state->ended_ns = bpf_ktime_get_boot_ns();
	return false;
}

/* False if there is no room for one more process: the operation then goes to the ring. `known` names the process where the
 * hook does not run in its context; NULL means the current one. */
static __noinline bool aggregate(__u32 hook, const struct wt_process *known)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct wt_aggregate_key key = { .hook = hook };
	struct aggregate *found, fresh;
	__u32 slot = 0;
	void *table = bpf_map_lookup_elem(&aggregates, &slot);

	if (!table)
		return false;
	key.pid = known ? known->pid : (__u32)task->tgid;
	key.start_ns = known ? known->start_ns : task->group_leader->start_boottime;
	found = bpf_map_lookup_elem(table, &key);
	if (!found) {
		__builtin_memset(&fresh, 0, sizeof(fresh));
		if (known)
			fresh.process = *known;
		else
			fill_current(&fresh.process);
		/* Another processor may have been first: its entry stays. */
		bpf_map_update_elem(table, &key, &fresh, BPF_NOEXIST);
		found = bpf_map_lookup_elem(table, &key);
		if (!found)
			return false;
	}
	__sync_fetch_and_add(&found->count, 1);
	return true;
}

/* Whether a file operation goes without a record; it is counted then. */
static __noinline bool is_file_left_out(__u32 hook, struct dentry *dentry, struct dentry *other)
{
	if (is_muted(CLASS_FILE, dentry, other)) {
		COUNT(hook, filtered);
		return true;
	}
	if (!is_counting(&ring_file, RING_FILE, RING_FILE_BYTES) || !aggregate(hook, NULL))
		return false;
	COUNT(hook, aggregated);
	return true;
}

static __always_inline bool is_net_counted(__u32 hook, const struct wt_process *known)
{
	if (!is_counting(&ring_net, RING_NET, RING_NET_BYTES) || !aggregate(hook, known))
		return false;
	COUNT(hook, aggregated);
	return true;
}

/* The same for a network operation of the current process. */
static __noinline bool is_net_left_out(__u32 hook)
{
	if (is_muted(CLASS_NET, NULL, NULL)) {
		COUNT(hook, filtered);
		return true;
	}
	return is_net_counted(hook, NULL);
}
