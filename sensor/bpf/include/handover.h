/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which build's programs tell an operation when two builds are attached, the old one and the one that takes its place.
 *
 * Each build has a variable of its own, and the loader sets, waiting after each step until no program runs that has seen
 * the step before:  new WAITING, old LEAVING | new COMING | old STOPPED | new ACTIVE.
 * Both builds' programs of a hook run one after the other for the same operation, in the same task: the first leaves a bit
 * for the second, which then stays silent. At an LSM hook the new build's runs first (the kernel puts a new link in front),
 * at a tracepoint the old build's (it puts a new one behind). Whatever phase either of the two finds, the operation is told
 * exactly once: the first one's bit says so, and where no bit can be left only one of them speaks.
 */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "abi.h"

_Static_assert(HOOK_COUNT <= 64, "a hook has a bit");

/* The only variable of the object that is not constant: the loader sets it by its place. */
volatile __u32 phase;

/* Bits of the hooks whose operation the first program has told. A new build shares the old one's. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} handover SEC(".maps");

/* Not every object that includes this has hooks. */
static __noinline __attribute__((unused)) bool is_told_by_other(__u32 hook, __u32 now)
{
	bool is_first = !(TRACEPOINT_HOOKS & (1ull << (hook & 63))) == (now == PHASE_COMING);
	__u64 bit = 1ull << (hook & 63);
	__u64 *told;

	if (now == PHASE_STOPPED)
		return true;
	told = bpf_task_storage_get(&handover, bpf_get_current_task_btf(), 0,
				    is_first && now != PHASE_WAITING ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	if (now == PHASE_WAITING) {
		if (told && TRACEPOINT_HOOKS & bit)
			__sync_fetch_and_and(told, ~bit);
		return true;
	}
	if (is_first) {
		if (told)
			__sync_fetch_and_or(told, bit);
		return false;
	}
	if (!told || !(*told & bit))
		return false;
	__sync_fetch_and_and(told, ~bit);
	return true;
}

/* A hit is where a hook may still leave unseen; what follows it must be counted to its end. */
#define LEAVE_IF_SILENT(hook) do { \
	__u32 phase_now = phase; \
	if (phase_now != PHASE_ACTIVE && is_told_by_other(hook, phase_now)) \
		return 0; \
} while (0)
