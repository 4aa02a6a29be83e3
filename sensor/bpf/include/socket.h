/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What the socket hooks share: a socket as the kernel knows it, and the address that a call names. */
#pragma once
#include "endpoint.h"
#include "pressure.h"

#define SUN_PATH_BYTES_MAX 108

/*
 * What is remembered with a TCP socket: who acts on it, for the changes of state that run in no process's context, and
 * whether an LSM hook has told already what the next change of state would tell once more.
 */
struct socket_story {
	struct wt_process process;
	__u32 is_told;
	__u32 is_muted;                         /* what its opener may do without an event, it may to its end */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_story);
} socket_stories SEC(".maps");

static __always_inline bool is_inet(__u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

static __always_inline void fill_socket(struct wt_socket *to, const struct sock *sk)
{
	__builtin_memset(to, 0, sizeof(*to));
	to->family = sk->__sk_common.skc_family;
	to->protocol = sk->sk_protocol;
	to->socket_type = sk->sk_type;
	to->cookie = bpf_get_socket_cookie((void *)sk);
	if (!is_inet(to->family))
		return;
	to->local_port = sk->__sk_common.skc_num;
	to->remote_port = __builtin_bswap16(sk->__sk_common.skc_dport);
	if (to->family == AF_INET) {
		__u32 local = sk->__sk_common.skc_rcv_saddr;
		__u32 remote = sk->__sk_common.skc_daddr;

		__builtin_memcpy(to->local, &local, sizeof(local));
		__builtin_memcpy(to->remote, &remote, sizeof(remote));
	} else {
		bpf_probe_read_kernel(to->local, sizeof(to->local), &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(to->remote, sizeof(to->remote), &sk->__sk_common.skc_v6_daddr);
	}
}

/*
 * An LSM hook has told of a connect or a listen, counted it or left it out: the change of state that follows is not told
 * again. `scratch` holds the record with the process, if there is one.
 */
static __always_inline void tell(struct sock *sk, const struct scratch *scratch)
{
	struct socket_story *story;

	if (sk->sk_protocol != IPPROTO_TCP || !is_inet(sk->__sk_common.skc_family))
		return;
	story = bpf_sk_storage_get(&socket_stories, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!story)
		return;
	if (scratch)
		bpf_probe_read_kernel(&story->process, sizeof(story->process), scratch->data + sizeof(struct wt_header));
	else
		fill_current(&story->process);
	story->is_told = 1;
}

/* The address that a call names wins over the socket's own; of the other end only what is of the same family is kept. */
static __always_inline void set_remote(struct wt_socket *to, const struct endpoint *from)
{
	if (to->family != from->family)
		__builtin_memset(to->local, 0, sizeof(to->local));
	to->family = from->family;
	to->remote_port = from->port;
	__builtin_memcpy(to->remote, from->address, sizeof(to->remote));
}

static __always_inline void set_local(struct wt_socket *to, const struct endpoint *from)
{
	if (to->family != from->family)
		__builtin_memset(to->remote, 0, sizeof(to->remote));
	to->family = from->family;
	to->local_port = from->port;
	__builtin_memcpy(to->local, from->address, sizeof(to->local));
}

/*
 * The name of an AF_UNIX address. The caller's length counts: a path may lack its NUL, an abstract name holds any bytes.
 * old_state 1 says that the name is abstract, and it is without its first NUL then.
 */
static __always_inline void append_unix_name(struct scratch *scratch, struct wt_socket *body, const void *address,
					     int address_bytes)
{
	const struct sockaddr_un *named = address;
	__u32 at = scratch->bytes;
	__u32 bytes;
	char first = 0;
	long taken;

	if (address_bytes <= (int)sizeof(named->sun_family))
		return;                         /* no name: the kernel picks one at bind */
	bytes = address_bytes - sizeof(named->sun_family);
	if (bytes > SUN_PATH_BYTES_MAX)
		bytes = SUN_PATH_BYTES_MAX;
	bpf_probe_read_kernel(&first, sizeof(first), named->sun_path);
	if (!first) {
		body->old_state = 1;
		append_bytes(scratch, TAG_NAME, named->sun_path + 1, bytes - 1);
		return;
	}
	if (!HAS_ROOM(at, STRING_BYTES_MAX))
		return;
	taken = bpf_probe_read_kernel_str(scratch->data + at + ATTACHMENT_BYTES, bytes + 1, named->sun_path);
	if (taken <= 0)
		close_attachment(scratch, at, TAG_NAME, ATTACHMENT_UNREADABLE, 0);
	else
		close_attachment(scratch, at, TAG_NAME, 0, taken - 1);
}
