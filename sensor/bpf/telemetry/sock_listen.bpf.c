// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A socket waits for connections. Families other than IPv4, IPv6 and AF_UNIX are filtered.
// Prototype (6.1, 6.12): int socket_listen(struct socket *sock, int backlog)
#include "socket.h"

SEC("lsm/socket_listen")
int BPF_PROG(sock_listen, struct socket *sock, int backlog, int ret)
{
	struct scratch *scratch;
	struct wt_socket *body;
	struct sock *sk;

	if (ret)
		return ret;
	COUNT(HOOK_SOCK_LISTEN, hits);
	sk = sock->sk;
	if (is_null(sk) || !(is_inet(sk->__sk_common.skc_family) || sk->__sk_common.skc_family == AF_UNIX)) {
		COUNT(HOOK_SOCK_LISTEN, filtered);
		return 0;
	}
	if (is_net_left_out(HOOK_SOCK_LISTEN)) {
		tell(sk, NULL);
		return 0;
	}
	scratch = begin(HOOK_SOCK_LISTEN, RECORD_SOCKET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_socket);
	fill_socket(body, sk);
	tell(sk, scratch);
	submit_net(scratch, HOOK_SOCK_LISTEN);
	return 0;
}
