/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How a guard hook decides: ask -> weigh what the policy has of the file, its place, its folders, its contents or the
 * address -> answer. The whole policy is one frozen map, a generation; one look into `wtg_policy` picks it, and everything
 * that a hook asks it asks of that one. Keys are typed and of fixed size: there is nothing to parse here.
 *
 * An operation that no rule is about costs one look for the generation and one for its first entry.
 */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"
#include "load.h"
#include "process.h"

#define EPERM 1

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} wtg_verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_HOOK_COUNT);
	__type(key, __u32);
	__type(value, struct wt_counters);
} wtg_counters SEC(".maps");

/* How often each rule has refused or would have. */
struct wtg_rule_key { __u64 generation; __u64 rule; };
struct wtg_rule_count { __u64 denied; __u64 audited; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2 * POLICY_RULES_MAX);
	__type(key, struct wtg_rule_key);
	__type(value, struct wtg_rule_count);
} wtg_rule_counts SEC(".maps");

struct wtg_generation {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(key_size, sizeof(struct wt_policy_key));     /* sizes: clang leaves the types of an inner map incomplete */
	__uint(value_size, sizeof(struct wt_policy_entry));
};

/* The generation in force, and the last that was confirmed: what holds when the first one's time to be confirmed is over. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, POLICY_SLOTS);
	__type(key, __u32);
	__array(values, struct wtg_generation);
} wtg_policy SEC(".maps");

/*
 * What any generation since the load has named. It only grows, and before a generation is put in force: what is not in it
 * needs no look into one. It decides nothing else.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HINT_WORDS);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} wtg_hints SEC(".maps");

static const volatile struct wt_policy_key first_key = { .kind = POLICY_HEADER };

#define GUARD_COUNT(hook, member) do { \
	__u32 count_key = (hook) - GUARD_HOOK_FIRST; \
	struct wt_counters *count_row = bpf_map_lookup_elem(&wtg_counters, &count_key); \
	if (count_row) \
		__sync_fetch_and_add(&count_row->member, 1); \
} while (0)

/* A hit that no rule is about, with one look at the counters. */
#define GUARD_COUNT_HIT_FILTERED(hook) do { \
	__u32 count_key = (hook) - GUARD_HOOK_FIRST; \
	struct wt_counters *count_row = bpf_map_lookup_elem(&wtg_counters, &count_key); \
	if (count_row) { \
		__sync_fetch_and_add(&count_row->hits, 1); \
		__sync_fetch_and_add(&count_row->filtered, 1); \
	} \
} while (0)

/* One operation on its way to a verdict; begins as zeros. What is more than one operation for a policy is asked more than once. */
struct question {
	void *table;
	struct wt_policy_entry *header;
	__u32 operation;                        /* ON_*, what is asked now */
	__u32 decided;                          /* ON_*, what decided */
	__u32 kinds;                            /* kinds of entries that the policy has for this operation */
	__u16 mode;                             /* POLICY_DENY, POLICY_AUDIT, or 0: no rule */
	__u16 rule;
	__u16 matched;                          /* kind of the entry that decided */
	__u16 family;                           /* of an address, else 0 */
	__u16 port;
	__u8 address[16];
};

#define HAS_KIND(question, kind) ((question)->kinds & (1u << (kind)))

static __always_inline struct wt_policy_entry *header_of(void *table)
{
	return bpf_map_lookup_elem(table, (const void *)&first_key);
}

/* Picks the generation that answers everything this hook asks. */
static __always_inline void pick(struct question *question)
{
	__u32 slot = POLICY_SLOT_CURRENT;
	struct wt_policy_entry *header;
	void *table = bpf_map_lookup_elem(&wtg_policy, &slot);

	if (!table)
		return;
	header = header_of(table);
	if (!header)
		return;
	if (header->deadline_ns && bpf_ktime_get_boot_ns() > header->deadline_ns) {
		slot = POLICY_SLOT_CONFIRMED;
		table = bpf_map_lookup_elem(&wtg_policy, &slot);
		if (!table)
			return;
		header = header_of(table);
		if (!header)
			return;
	}
	question->table = table;
	question->header = header;
}

static __always_inline __u64 hint(__u32 word)
{
	__u64 *found = bpf_map_lookup_elem(&wtg_hints, &word);

	return found ? *found : ~0ull;
}

static __always_inline bool is_hinted_at(__u32 bit)
{
	return hint(1 + bit / 64) >> (bit % 64) & 1;
}

/* Whether a generation may name this file or folder. Most are not named, and need no look into one. */
static __always_inline bool may_name(struct inode *inode)
{
	return is_hinted_at(IDENTITY_BIT(LOAD(struct inode, inode, i_ino), LOAD(struct inode, inode, i_generation), HINT_BITS));
}

/* The same where the verifier knows the pointer: a plain load on every kernel. */
static __always_inline bool may_name_known(const struct inode *inode)
{
	return is_hinted_at(IDENTITY_BIT(inode->i_ino, inode->i_generation, HINT_BITS));
}

static __always_inline __u32 kinds_named(__u32 operation)
{
	return (hint(0) >> (operation * 8)) & 0xff;
}

/* No generation has entries of these kinds for the operation. */
static __always_inline bool is_never_ruled(__u32 operation, __u32 kinds)
{
	return !(kinds_named(operation) & kinds);
}

#define KINDS_OF_NAMES (1u << POLICY_FILE | 1u << POLICY_PLACE)

/*
 * The generations rule on the operation by files alone, if at all, and none names this file or the folder of its name. Of a
 * file behind an overlay whose path is the overlay's this is not known.
 */
static __always_inline bool is_never_named(__u32 operation, const struct file *file)
{
	const struct dentry *dentry = file->f_path.dentry;
	const struct inode *inode = file->f_inode;
	__u32 kinds = kinds_named(operation);

	if (!kinds || kinds & ~KINDS_OF_NAMES)
		return !kinds;
	return dentry->d_inode == inode && !may_name_known(inode) && !may_name_known(dentry->d_parent->d_inode);
}

/* False if the policy says nothing of this operation. */
static __always_inline bool ask(struct question *question, __u32 operation)
{
	if (!question->header)
		pick(question);
	if (!question->header)
		return false;
	question->operation = operation;
	question->kinds = (question->header->kinds >> (operation * 8)) & 0xff;
	return question->kinds;
}

/* Denial is stronger than audit; among equals the first found stays. */
static __always_inline void weigh(struct question *question, struct wt_policy_entry *entry, __u16 kind)
{
	__u32 operation = question->operation & 7;
	__u16 mode;

	if (!entry)
		return;
	if (entry->denies & (1u << operation))
		mode = POLICY_DENY;
	else if (entry->audits & (1u << operation))
		mode = POLICY_AUDIT;
	else
		return;
	if (question->mode && question->mode <= mode)
		return;
	question->mode = mode;
	question->decided = operation;
	question->rule = ((const __u16 *)entry->rules)[operation];
	question->matched = kind;
}

static __always_inline void identity_key(struct wt_policy_key *key, __u32 kind, struct inode *inode)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->kind = kind;
	key->dev = LOAD(struct super_block, LOAD(struct inode, inode, i_sb), s_dev);
	key->a = LOAD(struct inode, inode, i_ino);
	key->b = LOAD(struct inode, inode, i_generation);
}

static __always_inline void weigh_inode(struct question *question, struct inode *inode)
{
	struct wt_policy_key key;

	if (!HAS_KIND(question, POLICY_FILE) || is_null(inode) || !may_name(inode))
		return;
	identity_key(&key, POLICY_FILE, inode);
	weigh(question, bpf_map_lookup_elem(question->table, &key), POLICY_FILE);
}

struct hashing {
	const unsigned char *name;
	__u64 hash;
	__u32 length;
};

static long hash_step(__u32 step, void *context)
{
	struct hashing *hashing = context;
	__u32 at = step * 8;
	__u64 word = 0;

	if (at >= hashing->length)
		return 1;
	bpf_probe_read_kernel(&word, sizeof(word), hashing->name + at);
	if (hashing->length - at < 8)
		word &= (1ull << ((hashing->length - at) * 8)) - 1;
	hashing->hash = (hashing->hash ^ word) * PLACE_HASH_FACTOR;
	hashing->hash ^= hashing->hash >> 32;
	return 0;
}

/* A name's hash, the same as `place_hash` in the ABI: 8 bytes at a time, the last ones filled up with zeros. */
static __always_inline __u64 name_hash(struct dentry *dentry)
{
	struct hashing hashing = {
		.name = LOAD(struct dentry, dentry, d_name.name),
		.hash = PLACE_HASH_SEED,
		.length = LOAD(struct dentry, dentry, d_name.len),
	};

	bpf_loop(NAME_BYTES_MAX / 8, hash_step, &hashing, 0);
	return hashing.hash;
}

/* A name in a folder, whichever file has it: what a rule on a file means once the file has been replaced. */
static __always_inline void weigh_place(struct question *question, struct dentry *dentry, struct inode *folder)
{
	struct wt_policy_key key;

	if (!HAS_KIND(question, POLICY_PLACE) || is_null(folder) || !may_name(folder))
		return;
	identity_key(&key, POLICY_PLACE, folder);
	key.c = name_hash(dentry);
	weigh(question, bpf_map_lookup_elem(question->table, &key), POLICY_PLACE);
}

/* What a walk up the folders remembers. */
struct climb {
	struct question *question;
	__u64 dentry;
	__u64 mount;                            /* 0: stay in this file system */
	__u32 is_at_root;
};

static long climb_step(__u32 step, void *context)
{
	struct climb *climb = context;
	struct question *question = climb->question;
	struct dentry *dentry = (struct dentry *)climb->dentry;
	struct dentry *parent = LOAD(struct dentry, dentry, d_parent);
	struct wt_policy_key key;
	struct inode *folder;

	folder = LOAD(struct dentry, dentry, d_inode);
	if (may_name(folder)) {
		identity_key(&key, POLICY_FOLDER, folder);
		weigh(question, bpf_map_lookup_elem(question->table, &key), POLICY_FOLDER);
	}
	if (question->mode == POLICY_DENY) {
		climb->is_at_root = 1;
		return 1;
	}
	if (parent != dentry) {
		climb->dentry = (__u64)parent;
		return 0;
	}
	/* The file system's root: a folder above may be named by the policy too, if something is mounted in it. */
	if (climb->mount) {
		struct mount *mount = (struct mount *)climb->mount;
		struct mount *above = LOAD(struct mount, mount, mnt_parent);

		if (above != mount) {
			climb->dentry = (__u64)LOAD(struct mount, mount, mnt_mountpoint);
			climb->mount = (__u64)above;
			return 0;
		}
	}
	climb->is_at_root = 1;
	return 1;
}

/* Folders from `dentry` up. Deeper than the bound is taken for a match: depth must not be a way around. */
static __always_inline void weigh_folders(struct question *question, struct dentry *dentry, struct vfsmount *mnt)
{
	struct climb climb = { .question = question, .dentry = (__u64)dentry };

	if (!HAS_KIND(question, POLICY_FOLDER))
		return;
	if (mnt)
		climb.mount = (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
	bpf_loop(FOLDER_STEPS_MAX, climb_step, &climb, 0);
	if (!climb.is_at_root && question->mode != POLICY_DENY) {
		bool is_denied = question->header->denies & (1u << (question->operation & 7));

		question->mode = is_denied ? POLICY_DENY : POLICY_AUDIT;
		question->decided = question->operation;
		question->matched = POLICY_TOO_DEEP;
	}
}

/* A walk up the folders that a name leaves. */
struct departure {
	struct question *question;
	__u64 dentry;
	__u64 destination;
};

/* A walk up from where the name goes to. */
struct arrival {
	__u64 dentry;
	__u64 sought;
	__u32 is_found;
};

static long arrival_step(__u32 step, void *context)
{
	struct arrival *arrival = context;
	struct dentry *dentry = (struct dentry *)arrival->dentry;
	struct dentry *parent = LOAD(struct dentry, dentry, d_parent);

	arrival->is_found = arrival->dentry == arrival->sought;
	if (arrival->is_found || parent == dentry)
		return 1;
	arrival->dentry = (__u64)parent;
	return 0;
}

static long departure_step(__u32 step, void *context)
{
	struct departure *departure = context;
	struct question *question = departure->question;
	struct dentry *dentry = (struct dentry *)departure->dentry;
	struct dentry *parent = LOAD(struct dentry, dentry, d_parent);
	struct inode *folder = LOAD(struct dentry, dentry, d_inode);
	struct wt_policy_entry *entry = NULL;
	struct wt_policy_key key;

	if (may_name(folder)) {
		identity_key(&key, POLICY_FOLDER, folder);
		entry = bpf_map_lookup_elem(question->table, &key);
	}
	if (entry) {
		struct arrival arrival = { .dentry = departure->destination, .sought = departure->dentry };

		bpf_loop(FOLDER_STEPS_MAX, arrival_step, &arrival, 0);
		if (arrival.is_found)
			return 1;               /* it stays in this folder, and so in all above */
		weigh(question, entry, POLICY_FOLDER);
	}
	if (parent == dentry || question->mode == POLICY_DENY)
		return 1;
	departure->dentry = (__u64)parent;
	return 0;
}

/* Whether a name in folder `from` that goes to folder `to` leaves a folder that the policy is about. */
static __always_inline void weigh_leaving(struct question *question, struct dentry *from, struct dentry *to)
{
	struct departure departure = { .question = question, .dentry = (__u64)from, .destination = (__u64)to };

	bpf_loop(FOLDER_STEPS_MAX, departure_step, &departure, 0);
}

/* The record of a verdict: one size, so that it can be reserved in the ring and written in place. */
struct verdict_record {
	struct wt_header header;
	struct wt_process process;
	struct wt_verdict body;
	__u16 tag;
	__u16 path_flags;
	__u32 path_bytes;
	__u8 path[VERDICT_PATH_BYTES];
};

#define REPORT_STEPS_MAX 64

/* A walk that writes names from the leaf up, for people to read; the verdict was made on identities. */
struct naming {
	struct verdict_record *record;
	__u64 dentry;
	__u64 mount;
	__u64 root;
};

static long naming_step(__u32 step, void *context)
{
	struct naming *naming = context;
	struct verdict_record *record = naming->record;
	struct dentry *dentry = (struct dentry *)naming->dentry;
	struct dentry *parent;
	__u32 at = record->path_bytes;
	long bytes;

	if (naming->mount && naming->dentry == naming->root) {
		struct mount *mount = (struct mount *)naming->mount;
		struct mount *above = LOAD(struct mount, mount, mnt_parent);

		if (above == mount) {
			record->path_flags = 0;
			return 1;
		}
		naming->dentry = (__u64)LOAD(struct mount, mount, mnt_mountpoint);
		naming->mount = (__u64)above;
		naming->root = (__u64)LOAD(struct mount, above, mnt.mnt_root);
		return 0;
	}
	parent = LOAD(struct dentry, dentry, d_parent);
	if (parent == dentry) {
		record->path_flags = ATTACHMENT_DETACHED;
		return 1;
	}
	if (at >= VERDICT_PATH_BYTES - NAME_BYTES_MAX)
		return 1;
	bytes = bpf_probe_read_kernel_str(record->path + at, NAME_BYTES_MAX, LOAD(struct dentry, dentry, d_name.name));
	if (bytes <= 0)
		return 1;
	record->path_bytes = at + bytes;
	naming->dentry = (__u64)parent;
	return 0;
}

static __always_inline void write_path(struct verdict_record *record, struct dentry *dentry, struct vfsmount *mnt)
{
	struct naming naming = { .record = record, .dentry = (__u64)dentry };

	record->path_flags = ATTACHMENT_CUT;    /* unless a step says that it came to the end */
	if (mnt) {
		naming.mount = (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
		naming.root = (__u64)LOAD(struct vfsmount, mnt, mnt_root);
	}
	bpf_loop(REPORT_STEPS_MAX, naming_step, &naming, 0);
}

static __always_inline void count_rule(const struct question *question)
{
	struct wtg_rule_key key = { .generation = question->header->generation, .rule = question->rule };
	struct wtg_rule_count *count = bpf_map_lookup_elem(&wtg_rule_counts, &key);

	if (!count) {
		struct wtg_rule_count none = {};

		bpf_map_update_elem(&wtg_rule_counts, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&wtg_rule_counts, &key);
		if (!count)
			return;
	}
	if (question->mode == POLICY_DENY)
		__sync_fetch_and_add(&count->denied, 1);
	else
		__sync_fetch_and_add(&count->audited, 1);
}

static __always_inline void write_rule(struct wt_verdict *body, const struct question *question)
{
	struct wt_policy_key key = { .kind = POLICY_RULE, .a = question->rule };
	struct wt_policy_entry *rule = bpf_map_lookup_elem(question->table, &key);

	body->generation = question->header->generation;
	if (rule)
		__builtin_memcpy(body->id, rule->id, sizeof(body->id));
	else
		__builtin_memset(body->id, 0, sizeof(body->id));
}

/* Writes the record of a verdict. Whether it fits into the ring does not change the verdict; it is counted. */
static __noinline int report(struct question *question, __u32 hook, struct inode *inode, struct dentry *dentry,
			     struct vfsmount *mnt)
{
	struct verdict_record *record;

	record = bpf_ringbuf_reserve(&wtg_verdicts, sizeof(*record), 0);
	if (!record) {
		GUARD_COUNT(hook, lost_ring_full);
		return 0;
	}
	record->header.version = ABI_VERSION;
	record->header.record = RECORD_VERDICT;
	record->header.bytes = sizeof(*record);
	record->header.hook = hook;
	record->header.flags = FLAG_HAS_PROCESS;
	record->header.cpu = bpf_get_smp_processor_id();
	record->header.sequence = 0;
	record->header.boot_ns = bpf_ktime_get_boot_ns();
	fill_current(&record->process);
	__builtin_memset(&record->body, 0, sizeof(record->body));
	record->body.operation = question->decided;
	record->body.mode = question->mode;
	record->body.rule = question->rule;
	record->body.matched = question->matched;
	record->body.family = question->family;
	record->body.port = question->port;
	__builtin_memcpy(record->body.address, question->address, sizeof(record->body.address));
	if (question->header)
		write_rule(&record->body, question);
	if (inode) {
		record->body.inode = LOAD(struct inode, inode, i_ino);
		record->body.dev = LOAD(struct super_block, LOAD(struct inode, inode, i_sb), s_dev);
		record->body.inode_generation = LOAD(struct inode, inode, i_generation);
		record->body.mode_bits = LOAD(struct inode, inode, i_mode);
	}
	record->tag = TAG_PATH;
	record->path_bytes = 0;
	record->path_flags = 0;
	if (dentry)
		write_path(record, dentry, mnt);
	/* Verdicts are rare and somebody waits for them. */
	bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
	GUARD_COUNT(hook, submitted);
	return 0;
}

/* The hook's return value. Counts what became of the hit. */
static __always_inline int answer(struct question *question, __u32 hook, struct inode *inode, struct dentry *dentry,
				  struct vfsmount *mnt)
{
	if (!question->mode) {
		GUARD_COUNT(hook, filtered);
		return 0;
	}
	count_rule(question);
	report(question, hook, is_null(inode) ? NULL : inode, dentry, mnt);
	return question->mode == POLICY_DENY ? -EPERM : 0;
}

/* All that a policy can know of a file that has a name. */
static __always_inline void weigh_file(struct question *question, struct inode *inode, struct dentry *dentry,
				       struct vfsmount *mnt)
{
	weigh_inode(question, inode);
	if (HAS_KIND(question, POLICY_PLACE) && question->mode != POLICY_DENY)
		weigh_place(question, dentry, LOAD(struct dentry, LOAD(struct dentry, dentry, d_parent), d_inode));
	if (question->mode != POLICY_DENY)
		weigh_folders(question, dentry, mnt);
}
