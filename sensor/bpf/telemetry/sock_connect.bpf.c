// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A socket is told its peer. Addresses of other families than IPv4, IPv6 and AF_UNIX are filtered, AF_UNSPEC (which
// undoes a connect) too.
// Prototype (6.1, 6.12): int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)
#include "socket.h"

SEC("lsm/socket_connect")
int BPF_PROG(sock_connect, struct socket *sock, struct sockaddr *address, int addrlen, int ret)
{
	bool is_unix, is_inet_address;
	struct endpoint endpoint;
	struct scratch *scratch;
	struct wt_socket *body;
	struct sock *sk;

	if (ret)
		return ret;
	COUNT(HOOK_SOCK_CONNECT, hits);
	is_unix = address->sa_family == AF_UNIX;
	is_inet_address = read_endpoint(&endpoint, address, addrlen, AF_UNSPEC);
	sk = sock->sk;
	if (is_null(sk) || (!is_unix && !is_inet_address)) {
		COUNT(HOOK_SOCK_CONNECT, filtered);
		return 0;
	}
	if (is_net_left_out(HOOK_SOCK_CONNECT)) {
		tell(sk, NULL);
		return 0;
	}
	scratch = begin(HOOK_SOCK_CONNECT, RECORD_SOCKET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_socket);
	fill_socket(body, sk);
	body->is_initiated = 1;
	if (is_unix) {
		body->family = AF_UNIX;
		append_unix_name(scratch, body, address, addrlen);
	} else {
		set_remote(body, &endpoint);
	}
	tell(sk, scratch);
	submit_net(scratch, HOOK_SOCK_CONNECT);
	return 0;
}
