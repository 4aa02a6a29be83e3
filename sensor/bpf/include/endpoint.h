/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* An address of IPv4 or IPv6 that a call names. */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* What of an AF_INET or AF_INET6 address goes into a record. */
struct endpoint {
	__u8 address[16];
	__u16 family;
	__u16 port;
};

/* What a datagram's address without a family is taken for: udp_sendmsg, raw_sendmsg and rawv6_sendmsg in the kernel. */
static __always_inline __u16 unspecified_of(struct socket *sock, struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || (family == AF_INET6 && sock->type == SOCK_RAW) ? family : AF_UNSPEC;
}

/*
 * False if it is of another family or shorter than one of its family. `unspecified` is what AF_UNSPEC stands for; to a
 * connect, which it undoes, it stands for nothing.
 */
static __always_inline bool read_endpoint(struct endpoint *to, const void *address, int bytes, __u16 unspecified)
{
	__u16 family = 0;
	__be16 port = 0;

	__builtin_memset(to, 0, sizeof(*to));
	if (bytes < (int)sizeof(struct sockaddr_in))
		return false;
	bpf_probe_read_kernel(&family, sizeof(family), address);
	if (family == AF_UNSPEC)
		family = unspecified;
	if (family == AF_INET) {
		const struct sockaddr_in *inet = address;

		bpf_probe_read_kernel(&port, sizeof(port), &inet->sin_port);
		bpf_probe_read_kernel(to->address, sizeof(inet->sin_addr), &inet->sin_addr);
	} else if (family == AF_INET6) {
		const struct sockaddr_in6 *inet6 = address;

		if (bytes < (int)__builtin_offsetof(struct sockaddr_in6, sin6_addr) + 16)
			return false;
		bpf_probe_read_kernel(&port, sizeof(port), &inet6->sin6_port);
		bpf_probe_read_kernel(to->address, sizeof(to->address), &inet6->sin6_addr);
	} else {
		return false;
	}
	to->family = family;
	to->port = __builtin_bswap16(port);
	return true;
}
