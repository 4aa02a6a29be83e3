/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Reading the kernel's structures where the verifier does not know the pointer. From 6.2 on a number can be made a pointer
 * that it knows, untrusted: what that points to is a plain load, which reads 0 where there is nothing. Before, each read is
 * a call of a helper and costs ten times as much.
 */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

#define CAN_CAST bpf_ksym_exists(bpf_rdonly_cast)
#define CAST(type, from) ((type *)bpf_rdonly_cast((const void *)(from), bpf_core_type_id_kernel(type)))

/*
 * A known object as one of which nothing is known. Whenever its programs load a pointer from a known object, the verifier looks
 * through all types of the kernel, several times, for what it may know of the result (from 6.4 on): most of a load's time.
 */
#define FAR(type, object) (CAN_CAST ? CAST(type, object) : (type *)(object))

/* As `identity_bit` in the ABI has it. */
#define IDENTITY_BIT(number, generation, bits) (((number) ^ (generation)) % (bits))

/* As `identity_bits` in the ABI has it: false if the inode is not in the set, true if it may be. */
#define MAY_HOLD(bits, number, generation) ({ \
	__u32 set_bit = IDENTITY_BIT(number, generation, IDENTITY_BITS); \
\
	(bits)[set_bit / 8] & (1u << (set_bit % 8)); \
})

/* A member of the `type` at the address `from`. */
#define LOAD(type, from, member) ({ \
	const void *load_from = (const void *)(from); \
\
	CAN_CAST ? CAST(type, load_from)->member : BPF_CORE_READ((type *)load_from, member); \
})
