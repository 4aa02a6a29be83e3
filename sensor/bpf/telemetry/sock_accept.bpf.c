// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// accept() hands out a connected socket. Families other than IPv4 and IPv6 are filtered.
// Prototype (6.1, 6.12): void sock_graft(struct sock *sk, struct socket *parent)
#include "socket.h"

SEC("lsm/sock_graft")
int BPF_PROG(sock_accept, struct sock *sk, struct socket *parent)
{
	struct scratch *scratch;
	struct wt_socket *body;

	COUNT(HOOK_SOCK_ACCEPT, hits);
	if (!is_inet(sk->__sk_common.skc_family)) {
		COUNT(HOOK_SOCK_ACCEPT, filtered);
		return 0;
	}
	if (is_net_left_out(HOOK_SOCK_ACCEPT))
		return 0;
	scratch = begin(HOOK_SOCK_ACCEPT, RECORD_SOCKET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_socket);
	fill_socket(body, sk);
	submit_net(scratch, HOOK_SOCK_ACCEPT);
	return 0;
}
