// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A datagram goes to a peer named with it. One record for each socket and peer, until 16,384 others were used since; streams
// and connected sockets are filtered: connect tells their peer.
// Prototype (6.1, 6.12): int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)
#include "socket.h"

struct peer {
	__u64 cookie;
	struct endpoint endpoint;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct peer);
	__type(value, __u8);
} socket_peers SEC(".maps");

SEC("lsm/socket_sendmsg")
int BPF_PROG(sock_send, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	struct scratch *scratch;
	struct wt_socket *body;
	struct peer peer = {};
	struct sock *sk;
	__u8 seen = 1;

	if (ret)
		return ret;
	if (sock->type != SOCK_DGRAM && sock->type != SOCK_RAW) {
		COUNT_HIT_FILTERED(HOOK_SOCK_SEND);
		return 0;
	}
	COUNT(HOOK_SOCK_SEND, hits);
	sk = sock->sk;
	if (is_null(sk) || !is_inet(sk->__sk_common.skc_family) || !msg->msg_name ||
	    !read_endpoint(&peer.endpoint, msg->msg_name, msg->msg_namelen, unspecified_of(sock, sk))) {
		COUNT(HOOK_SOCK_SEND, filtered);
		return 0;
	}
	peer.cookie = bpf_get_socket_cookie(sk);
	if (bpf_map_lookup_elem(&socket_peers, &peer)) {
		COUNT(HOOK_SOCK_SEND, filtered);
		return 0;
	}
	bpf_map_update_elem(&socket_peers, &peer, &seen, BPF_ANY);
	if (is_net_left_out(HOOK_SOCK_SEND))
		return 0;
	scratch = begin(HOOK_SOCK_SEND, RECORD_SOCKET, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_socket);
	fill_socket(body, sk);
	body->is_initiated = 1;
	set_remote(body, &peer.endpoint);
	submit_net(scratch, HOOK_SOCK_SEND);
	return 0;
}
