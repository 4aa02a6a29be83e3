// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A socket gets its own address. Families other than IPv4, IPv6 and AF_UNIX are filtered.
// Prototype (6.1, 6.12): int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)
#include "socket.h"

SEC("lsm/socket_bind")
int BPF_PROG(sock_bind, struct socket *sock, struct sockaddr *address, int addrlen, int ret)
{
	bool is_unix, is_inet_address;
	struct endpoint endpoint;
	struct scratch *scratch;
	struct wt_socket *body;
	struct sock *sk;

	if (ret)
		return ret;
	COUNT(HOOK_SOCK_BIND, hits);
	is_unix = address->sa_family == AF_UNIX;
	is_inet_address = read_endpoint(&endpoint, address, addrlen, AF_UNSPEC);
	sk = sock->sk;
	if (is_null(sk) || (!is_unix && !is_inet_address)) {
		COUNT(HOOK_SOCK_BIND, filtered);
		return 0;
	}
	if (is_net_left_out(HOOK_SOCK_BIND))
		return 0;
	scratch = begin(HOOK_SOCK_BIND, RECORD_SOCKET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_socket);
	fill_socket(body, sk);
	if (is_unix) {
		body->family = AF_UNIX;
		append_unix_name(scratch, body, address, addrlen);
	} else {
		set_local(body, &endpoint);
	}
	submit_net(scratch, HOOK_SOCK_BIND);
	return 0;
}
