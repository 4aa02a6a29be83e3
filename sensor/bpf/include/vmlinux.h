/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The kernel types that the hooks read, and of each only the members that they read. Offsets come from the running
 * kernel's BTF at load (CO-RE), so neither order nor completeness matters here; names must be the kernel's.
 * Written by hand, not dumped: a reader sees in one page what we look at.
 */
#pragma once

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef _Bool bool;
typedef unsigned short umode_t;
typedef unsigned int fmode_t;
typedef u32 dev_t;
typedef int pid_t;
typedef long long loff_t;
typedef unsigned long size_t;
#define true 1
#define false 0
#define NULL ((void *)0)

enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_RDONLY_PROG = 128 };
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12, BPF_MAP_TYPE_SK_STORAGE = 24, BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_INODE_STORAGE = 28, BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1, BPF_SK_STORAGE_GET_F_CREATE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { int counter; } atomic_t;
typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
struct ns_common { unsigned int inum; };
struct user_namespace { struct ns_common ns; };
struct mnt_namespace { struct ns_common ns; struct mount *root; };
struct pid_namespace { struct ns_common ns; };
struct nsproxy { struct mnt_namespace *mnt_ns; struct pid_namespace *pid_ns_for_children; };

struct group_info { int ngroups; kgid_t gid[0]; };
struct cred {
	kuid_t uid; kgid_t gid; kuid_t euid; kgid_t egid;
	struct user_namespace *user_ns; struct group_info *group_info;
};

struct list_head { struct list_head *next; };
struct hlist_node { struct hlist_node *next; };
struct hlist_head { struct hlist_node *first; };
struct file_system_type { const char *name; };
struct super_block { dev_t s_dev; unsigned long s_magic; struct file_system_type *s_type; };
struct inode {
	umode_t i_mode; kuid_t i_uid; kgid_t i_gid; struct super_block *i_sb; unsigned long i_ino;
	unsigned int i_nlink; u32 i_generation; loff_t i_size; struct hlist_head i_dentry; atomic_t i_writecount;
};
struct qstr { union { struct { u32 hash; u32 len; }; u64 hash_len; }; const unsigned char *name; };
struct dentry {
	struct dentry *d_parent; struct qstr d_name; struct inode *d_inode; struct super_block *d_sb;
	union { struct hlist_node d_alias; } d_u; unsigned char d_iname[32];
};
struct vfsmount { struct dentry *mnt_root; struct super_block *mnt_sb; };
struct mount {
	struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; struct mnt_namespace *mnt_ns;
	const char *mnt_devname; struct list_head mnt_mounts; struct list_head mnt_child; struct list_head mnt_share;
};
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file { struct path f_path; struct inode *f_inode; unsigned int f_flags; fmode_t f_mode; void *private_data; };
struct fs_struct { struct path pwd; };
struct mm_struct {
	unsigned long arg_start; unsigned long arg_end; unsigned long env_start; unsigned long env_end; struct file *exe_file;
};
struct vm_area_struct { struct file *vm_file; unsigned long vm_flags; };
/* A control group is a folder of kernfs. Its parent's name changed in 6.15, with the way it is protected. */
struct kernfs_node { const char *name; struct kernfs_node *parent; u64 id; };
struct kernfs_node___since_6_15 { struct kernfs_node *__parent; };
struct cgroup_root { char name[64]; };
struct cgroup { struct kernfs_node *kn; int level; struct cgroup_root *root; };
struct css_set { struct cgroup *dfl_cgrp; struct list_head cgrp_links; };
struct cgrp_cset_link { struct cgroup *cgrp; struct list_head cgrp_link; };
struct signal_struct { atomic_t live; int nr_threads; int group_exit_code; };

struct task_struct {
	pid_t pid; pid_t tgid; u64 start_boottime; unsigned int flags; unsigned int ptrace; int exit_code; int exit_state;
	struct task_struct *real_parent; struct task_struct *group_leader;
	const struct cred *real_cred; const struct cred *cred;
	struct mm_struct *mm; struct fs_struct *fs; struct nsproxy *nsproxy; struct signal_struct *signal;
	kuid_t loginuid; char comm[16]; struct css_set *cgroups; struct bpf_local_storage *bpf_storage;
	unsigned in_execve:1;
};

struct linux_binprm { struct file *file; const char *filename; const char *interp; struct cred *cred; };

struct in6_addr { union { u8 u6_addr8[16]; } in6_u; };
struct sock_common {
	__be32 skc_daddr; __be32 skc_rcv_saddr; __be16 skc_dport; u16 skc_num; unsigned short skc_family;
	struct in6_addr skc_v6_daddr; struct in6_addr skc_v6_rcv_saddr;
};
struct sock { struct sock_common __sk_common; u16 sk_protocol; u16 sk_type; };
struct socket { short type; struct sock *sk; };
struct msghdr { void *msg_name; int msg_namelen; };

struct bpf_map { enum bpf_map_type map_type; u32 id; char name[16]; };
struct timespec64 { long long tv_sec; long tv_nsec; };
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; u64 session_id; u64 seq_num; };
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; };
struct perf_event_attr { u32 type; u64 config; };

#pragma clang attribute pop

/* User-visible layouts: fixed, no relocation. */
struct sockaddr { unsigned short sa_family; char sa_data[14]; };
struct sockaddr_in { unsigned short sin_family; __be16 sin_port; __be32 sin_addr; };
struct sockaddr_in6 { unsigned short sin6_family; __be16 sin6_port; __be32 sin6_flowinfo; u8 sin6_addr[16]; };
struct sockaddr_un { unsigned short sun_family; char sun_path[108]; };
/* The first members of the commands' variants that we read; include/uapi/linux/bpf.h. */
union bpf_attr { u32 word[4]; };

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define S_IFMT 0170000
#define S_IFIFO 0010000
#define S_ISFIFO(mode) (((mode) & S_IFMT) == S_IFIFO)
#define FMODE_WRITE 2
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_ACCMODE 3
#define O_RDONLY 0
/* FMODE_EXEC in the flags of an open: the file is to be run. include/linux/fs.h. */
#define FLAG_EXEC 0x20
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define EXT4_SUPER_MAGIC 0xef53
#define XFS_SUPER_MAGIC 0x58465342
#define BTRFS_SUPER_MAGIC 0x9123683e
#define TMPFS_MAGIC 0x01021994
#define S_ISREG(mode) (((mode) & S_IFMT) == S_IFREG)
#define O_PATH 010000000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFLNK 0120000
#define S_IFCHR 0020000
#define S_IFSOCK 0140000
#define PROT_EXEC 4
#define VM_EXEC 4
#define SOCK_RAW 3
#define PROC_SUPER_MAGIC 0x9fa0
#define SYSFS_MAGIC 0x62656572
#define DEVPTS_SUPER_MAGIC 0x1cd1
#define PID_FS_MAGIC 0x50494446
#define PTRACE_MODE_ATTACH 2
#define PF_KTHREAD 0x00200000
