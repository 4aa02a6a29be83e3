/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How a hook makes an event: hit -> begin -> fill -> append strings -> submit. Records are built in a scratch slot and
 * copied to the ring at their real length. Each way out of a hook is counted, so that for every hook
 * hits = filtered + submitted + aggregated + lost.
 */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"
#include "handover.h"
#include "load.h"
#include "process.h"

enum wt_ring { RING_CRITICAL, RING_FILE, RING_NET, RING_COUNT };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_CRITICAL_BYTES);
} ring_critical SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_FILE_BYTES);
} ring_file SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_NET_BYTES);
} ring_net SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOOK_COUNT);
	__type(key, __u32);
	__type(value, struct wt_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RING_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} sequences SEC(".maps");

/* What a path walk remembers from one component to the next. Pointers as numbers: they are read, never followed directly. */
struct walk {
	__u64 dentry;
	__u64 mount;
	__u64 mount_root;
	__u64 above;                            /* the mount above; 0 until it is read */
	__u64 mountpoint;
	__u32 start;
	__u32 flags;
};

struct scratch {
	__u32 busy;
	__u32 bytes;
	__u32 hook;
	__u32 reserved;
	struct walk walk;
	__u8 data[RECORD_BYTES_MAX];
};

/* SCRATCH_SLOTS for each possible processor; the loader sets the size. Not a per-CPU map: those end at 32 KiB an element. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

#define BEFORE_hits(hook) LEAVE_IF_SILENT(hook)
#define BEFORE_filtered(hook)
#define BEFORE_submitted(hook)
#define BEFORE_aggregated(hook)
#define BEFORE_lost_ring_full(hook)
#define BEFORE_lost_no_scratch(hook)
#define BEFORE_helper_failures(hook)

/* Programs can be preempted by one another on the same processor, so the counters are added to atomically. */
#define COUNT(hook, member) do { \
	BEFORE_##member(hook); \
	__u32 count_key = (hook); \
	struct wt_counters *count_row = bpf_map_lookup_elem(&counters, &count_key); \
	if (count_row) \
		__sync_fetch_and_add(&count_row->member, 1); \
} while (0)

/* A hit that is left out, with one look at the counters: for the hooks that run all the time. */
#define COUNT_HIT_FILTERED(hook) do { \
	LEAVE_IF_SILENT(hook); \
	__u32 count_key = (hook); \
	struct wt_counters *count_row = bpf_map_lookup_elem(&counters, &count_key); \
	if (count_row) { \
		__sync_fetch_and_add(&count_row->hits, 1); \
		__sync_fetch_and_add(&count_row->filtered, 1); \
	} \
} while (0)

#define BODY_OFFSET (sizeof(struct wt_header) + sizeof(struct wt_process))
#define BODY(scratch, type) ((struct type *)((scratch)->data + BODY_OFFSET))

/* A scratch slot with header and process filled, or NULL when it was counted as lost. */
static __always_inline struct scratch *begin_without_process(__u32 hook, __u16 record, __u32 body_bytes)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct scratch *scratch = NULL;

	for (int slot = 0; slot < SCRATCH_SLOTS; slot++) {
		__u32 key = cpu * SCRATCH_SLOTS + slot;

		scratch = bpf_map_lookup_elem(&scratches, &key);
		if (!scratch)
			break;
		if (__sync_val_compare_and_swap(&scratch->busy, 0, 1) == 0) {
			struct wt_header *header = (void *)scratch->data;

			scratch->hook = key;
			scratch->bytes = BODY_OFFSET + body_bytes;
			header->version = ABI_VERSION;
			header->record = record;
			header->hook = hook;
			header->flags = 0;
			header->cpu = cpu;
			header->boot_ns = bpf_ktime_get_boot_ns();
			return scratch;
		}
	}
	COUNT(hook, lost_no_scratch);
	return NULL;
}

static __always_inline struct scratch *begin(__u32 hook, __u16 record, __u32 body_bytes)
{
	struct scratch *scratch = begin_without_process(hook, record, body_bytes);

	if (!scratch)
		return NULL;
	((struct wt_header *)scratch->data)->flags = FLAG_HAS_PROCESS;
	fill_current((void *)(scratch->data + sizeof(struct wt_header)));
	return scratch;
}

#define ATTACHMENT_BYTES 8
/* Where a string of at most `most` bytes may begin, so that it ends within the record. */
#define HAS_ROOM(at, most) ((at) <= RECORD_BYTES_MAX - ATTACHMENT_BYTES - (most))

static __always_inline void close_attachment(struct scratch *scratch, __u32 at, __u16 tag, __u16 flags, __u32 bytes)
{
	if (!HAS_ROOM(at, 0))
		return;
	*(__u16 *)(scratch->data + at) = tag;
	*(__u16 *)(scratch->data + at + 2) = flags;
	*(__u32 *)(scratch->data + at + 4) = bytes;
	scratch->bytes = at + ATTACHMENT_BYTES + ((bytes + 7) & ~7u);
}

/* A string in kernel memory, without its NUL. */
static __always_inline void append_string(struct scratch *scratch, __u16 tag, const void *from)
{
	__u32 at = scratch->bytes;
	long bytes;

	if (!HAS_ROOM(at, STRING_BYTES_MAX))
		return;
	bytes = bpf_probe_read_kernel_str(scratch->data + at + ATTACHMENT_BYTES, STRING_BYTES_MAX, from);
	if (bytes <= 0) {
		close_attachment(scratch, at, tag, ATTACHMENT_UNREADABLE, 0);
		return;
	}
	close_attachment(scratch, at, tag, bytes == STRING_BYTES_MAX ? ATTACHMENT_CUT : 0, bytes - 1);
}

/* Bytes in kernel memory that need not end in a NUL. */
static __always_inline void append_bytes(struct scratch *scratch, __u16 tag, const void *from, __u32 bytes)
{
	__u32 at = scratch->bytes;
	__u16 flags = 0;

	if (!HAS_ROOM(at, STRING_BYTES_MAX))
		return;
	asm volatile("" : "+r"(bytes)); /* what the compiler knows of it, the verifier does not: the test must stay */
	if (bytes > STRING_BYTES_MAX) {
		bytes = STRING_BYTES_MAX;
		flags = ATTACHMENT_CUT;
	}
	if (bpf_probe_read_kernel(scratch->data + at + ATTACHMENT_BYTES, bytes, from)) {
		bytes = 0;
		flags |= ATTACHMENT_UNREADABLE;
	}
	close_attachment(scratch, at, tag, flags, bytes);
}

/*
 * Neighbours in the kernel's structures, read at one go: a read costs more than what is read. The offsets are the running
 * kernel's own; where they are further apart than has room here, each is read by itself.
 */
#define BLOCK_BYTES 32
#define IN_BLOCK(type, first, other) \
	(bpf_core_field_offset(type, other) > bpf_core_field_offset(type, first) && \
	 bpf_core_field_offset(type, other) - bpf_core_field_offset(type, first) <= BLOCK_BYTES - 8)
#define FROM_BLOCK(block, type, first, other) \
	((block)[((bpf_core_field_offset(type, other) - bpf_core_field_offset(type, first)) / 8) & (BLOCK_BYTES / 8 - 1)])

/* What is above a name, and where its letters are. */
static __always_inline void read_dentry(__u64 dentry, __u64 *parent, __u64 *name)
{
	__u64 block[BLOCK_BYTES / 8];
	const void *from = (const void *)dentry + bpf_core_field_offset(struct dentry, d_parent);

	if (!CAN_CAST && IN_BLOCK(struct dentry, d_parent, d_name.name) && !bpf_probe_read_kernel(block, sizeof(block), from)) {
		*parent = block[0];
		*name = FROM_BLOCK(block, struct dentry, d_parent, d_name.name);
	} else {
		*parent = (__u64)LOAD(struct dentry, dentry, d_parent);
		*name = (__u64)LOAD(struct dentry, dentry, d_name.name);
	}
}

/* The mount that a walk is in, with all that a step out of it needs. */
static __always_inline void read_mount(struct walk *walk, __u64 mount)
{
	__u64 block[BLOCK_BYTES / 8];
	const void *from = (const void *)mount + bpf_core_field_offset(struct mount, mnt_parent);

	walk->mount = mount;
	if (!CAN_CAST && IN_BLOCK(struct mount, mnt_parent, mnt_mountpoint) &&
	    IN_BLOCK(struct mount, mnt_parent, mnt.mnt_root) && !bpf_probe_read_kernel(block, sizeof(block), from)) {
		walk->above = block[0];
		walk->mountpoint = FROM_BLOCK(block, struct mount, mnt_parent, mnt_mountpoint);
		walk->mount_root = FROM_BLOCK(block, struct mount, mnt_parent, mnt.mnt_root);
	} else {
		walk->above = (__u64)LOAD(struct mount, mount, mnt_parent);
		walk->mountpoint = (__u64)LOAD(struct mount, mount, mnt_mountpoint);
		walk->mount_root = (__u64)LOAD(struct mount, mount, mnt.mnt_root);
	}
}

/*
 * What the compiler knows of a number ends here. Between a test and the use, so that what was tested is used and not an earlier
 * copy from the stack, of which 6.1's verifier knows nothing; before a test, so that it is not taken for one made already.
 */
#define OPAQUE(number) asm volatile("" : "+r"(number))

/* The letters of a short name lie in the dentry itself, of 32 bytes at least. */
#define INLINE_NAME_WORDS 4

/* Takes a short name by plain loads, with its NUL; a call that goes by letters costs three times as much. False: not short. */
static __always_inline bool append_inline_name(struct scratch *scratch, struct dentry *dentry)
{
	__u32 at = scratch->bytes, letters = dentry->d_name.len;
	const __u64 *words = (const void *)dentry->d_iname;
	__u64 *to;

	if (!bpf_core_field_exists(dentry->d_iname) || letters >= INLINE_NAME_WORDS * sizeof(*words) ||
	    (const void *)dentry->d_name.name != words || !HAS_ROOM(at, NAME_BYTES_MAX))
		return false;
	OPAQUE(at);
	OPAQUE(letters);
	letters &= INLINE_NAME_WORDS * sizeof(*words) - 1;
	to = (void *)(scratch->data + at + ATTACHMENT_BYTES);
#pragma unroll
	for (int word = 0; word < INLINE_NAME_WORDS; word++)
		to[word] = words[word];
	*((__u8 *)to + letters) = 0;            /* renamed meanwhile: another name, but one that ends */
	scratch->bytes = at + letters + 1;
	return true;
}

/* One name of a path. False says that the walk ends here, and `walk.flags` why. */
static __always_inline bool append_name(struct scratch *scratch, const void *name)
{
	__u32 at = scratch->bytes;
	long bytes;

	OPAQUE(at);
	if (at - scratch->walk.start > PATH_BYTES_MAX || !HAS_ROOM(at, NAME_BYTES_MAX)) {
		scratch->walk.flags = ATTACHMENT_CUT;
		return false;
	}
	OPAQUE(at);
	bytes = bpf_probe_read_kernel_str(scratch->data + at + ATTACHMENT_BYTES, NAME_BYTES_MAX, name);
	if (bytes <= 0) {
		scratch->walk.flags = ATTACHMENT_UNREADABLE;
		return false;
	}
	scratch->bytes = at + bytes;
	return true;
}

static __always_inline bool is_at_mount_root(const struct walk *walk)
{
	return walk->mount && walk->dentry == walk->mount_root;
}

/* At a mount's root: whether it is the namespace's, as far as is known. */
static __always_inline bool is_at_end(struct walk *walk)
{
	if (walk->above != walk->mount)
		return false;
	walk->flags = 0;
	return true;
}

/* One component, and the step across a mount before it. */
static long walk_step(__u32 step, void *context)
{
	__u32 key = *(__u32 *)context;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	__u64 parent, name;

	if (!scratch)
		return 1;
	if (is_at_mount_root(&scratch->walk)) {
		if (!scratch->walk.above)
			read_mount(&scratch->walk, scratch->walk.mount);
		if (is_at_end(&scratch->walk))
			return 1;
		scratch->walk.dentry = scratch->walk.mountpoint;
		read_mount(&scratch->walk, scratch->walk.above);
		if (is_at_mount_root(&scratch->walk))
			return is_at_end(&scratch->walk);
	}
	read_dentry(scratch->walk.dentry, &parent, &name);
	if (parent == scratch->walk.dentry && scratch->bytes != scratch->walk.start) {
		scratch->walk.flags = ATTACHMENT_DETACHED;
		return 1;
	}
	if (!append_name(scratch, (const void *)name))
		return 1;
	if (parent == scratch->walk.dentry) {
		scratch->walk.flags = ATTACHMENT_DETACHED;
		return 1;
	}
	scratch->walk.dentry = parent;
	return is_at_mount_root(&scratch->walk) && is_at_end(&scratch->walk);
}

static __always_inline void end_walk(struct scratch *scratch, __u16 tag)
{
	__u32 at = scratch->walk.start;

	close_attachment(scratch, at, tag, scratch->walk.flags, scratch->bytes - at);
}

static __always_inline void walk_on(struct scratch *scratch, __u16 tag)
{
	__u32 key = scratch->hook;

	bpf_loop(PATH_STEPS_MAX, walk_step, &key, 0);
	end_walk(scratch, tag);
}

static __always_inline void begin_walk(struct scratch *scratch, const struct vfsmount *mnt, __u64 mount_root)
{
	scratch->walk.start = scratch->bytes;
	scratch->walk.flags = ATTACHMENT_CUT;   /* unless a step says that it came to the end */
	scratch->walk.above = 0;
	scratch->walk.mount = mnt ? (__u64)mnt - bpf_core_field_offset(struct mount, mnt) : 0;
	scratch->walk.mount_root = mount_root;
}

/*
 * At a mount's root, for the two cases that nearly every path is: the mount is the one on top of the root of the current
 * process's namespace, or is in a folder of that root. True: the walk is over. Else it may have come further.
 */
static __always_inline bool is_over_on_top(struct scratch *scratch)
{
	struct nsproxy *namespaces = FAR(struct task_struct, bpf_get_current_task_btf())->nsproxy;
	struct walk *walk = &scratch->walk;
	const struct mount *root;
	__u64 top, parent, name;

	if (!namespaces || !walk->mount)
		return false;
	root = namespaces->mnt_ns->root;        /* in no other mount */
	top = (__u64)root->mnt.mnt_root;
	if (walk->mount != (__u64)root) {
		read_mount(walk, walk->mount);
		if (walk->above != (__u64)root)
			return false;
		if (walk->mountpoint != top) {
			read_dentry(walk->mountpoint, &parent, &name);
			if (parent == walk->mountpoint)
				return false;
			if (!append_name(scratch, (const void *)name))
				return true;
			if (parent != top) {
				walk->dentry = parent;
				walk->mount = (__u64)root;
				walk->mount_root = top;
				return false;
			}
		}
	}
	walk->flags = 0;
	return true;
}

/* Components that a path's own hook reads itself, where the verifier knows the pointers: a plain load, no call. */
#define NEAR_STEPS 6

/* A path as names from the leaf up to the root of the mount namespace; without a mount, up to the file system's root. */
static __always_inline void append_path(struct scratch *scratch, __u16 tag, struct dentry *known, struct vfsmount *mnt)
{
	struct dentry *dentry = FAR(struct dentry, known);
	struct dentry *root = mnt ? FAR(struct vfsmount, mnt)->mnt_root : NULL;

	begin_walk(scratch, mnt, (__u64)root);
#pragma unroll
	for (int step = 0; step < NEAR_STEPS; step++) {
		struct dentry *parent = dentry->d_parent;

		if (dentry == root || parent == dentry)
			break;
		if (!append_inline_name(scratch, dentry) && !append_name(scratch, dentry->d_name.name)) {
			end_walk(scratch, tag);
			return;
		}
		dentry = parent;
	}
	scratch->walk.dentry = (__u64)dentry;
	if (dentry == root && is_over_on_top(scratch))
		end_walk(scratch, tag);
	else
		walk_on(scratch, tag);
}

/* The same for pointers that the verifier does not know. */
static __always_inline void append_path_unknown(struct scratch *scratch, __u16 tag, __u64 dentry, const struct vfsmount *mnt)
{
	begin_walk(scratch, mnt, mnt ? (__u64)BPF_CORE_READ(mnt, mnt_root) : 0);
	scratch->walk.dentry = dentry;
	walk_on(scratch, tag);
}

static __always_inline void fill_identity(struct wt_file *to, struct inode *inode)
{
	__builtin_memset(to, 0, sizeof(*to));
	if (is_null(inode))
		return;
	inode = FAR(struct inode, inode);
	to->inode = inode->i_ino;
	to->dev = inode->i_sb->s_dev;
	to->generation = inode->i_generation;
	to->mode = inode->i_mode;
}

static __always_inline void fill_credentials(struct wt_credentials *to, const struct cred *cred)
{
	to->uid = cred->uid.val;
	to->gid = cred->gid.val;
	to->euid = cred->euid.val;
	to->egid = cred->egid.val;
	to->capabilities = effective_capabilities(cred);
}

static __always_inline void fill_system(struct wt_system *to, __u32 command, __u32 what, __u64 value)
{
	to->command = command;
	to->what = what;
	to->value = value;
}

/* Whether there was room. */
static __always_inline bool put_into(void *ring, enum wt_ring which, struct scratch *scratch)
{
	struct wt_header *header = (void *)scratch->data;
	__u32 key = which;
	__u64 *sequence = bpf_map_lookup_elem(&sequences, &key);
	__u32 bytes = scratch->bytes;
	__u64 waiting, wake;
	bool is_put;

	if (sequence)
		header->sequence = __sync_fetch_and_add(sequence, 1);
	header->bytes = bytes;
	/*
	 * Waking the reader for every record costs more than the record, so only the one that crosses the limit does. The
	 * reader's timer finds what is below it, and what a wake-up that came to nothing left.
	 */
	waiting = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	wake = waiting < WAKE_BYTES && waiting + bytes >= WAKE_BYTES ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bytes > RECORD_BYTES_MAX)
		bytes = RECORD_BYTES_MAX;       /* can't be: every append leaves room; the verifier has to see it */
	is_put = bpf_ringbuf_output(ring, scratch->data, bytes, wake) == 0;
	scratch->busy = 0;
	return is_put;
}

static __always_inline void submit_to(void *ring, enum wt_ring which, struct scratch *scratch, __u32 hook)
{
	if (put_into(ring, which, scratch))
		COUNT(hook, submitted);
	else
		COUNT(hook, lost_ring_full);
}

#define submit_critical(scratch, hook) submit_to(&ring_critical, RING_CRITICAL, scratch, hook)
#define submit_file(scratch, hook) submit_to(&ring_file, RING_FILE, scratch, hook)
#define submit_net(scratch, hook) submit_to(&ring_net, RING_NET, scratch, hook)
