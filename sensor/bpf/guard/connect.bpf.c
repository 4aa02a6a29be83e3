// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A socket is told its peer, by connect or with the datagram (which is also how TCP fast open connects).
// Prototypes (6.1, 6.12): int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)
// int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)
#include "guard.h"
#include "endpoint.h"

/* An address on its way through the lengths of prefix that the policy has. */
struct prefixes {
	struct question *question;
	__u64 upper;
	__u64 lower;
	__u64 port;
};

/* All of a word that a prefix covers. */
static __always_inline __u64 cut_to(__u64 word, __u32 bits)
{
	return bits == 0 ? 0 : bits >= 64 ? word : word & (~0ull << ((64 - bits) & 63));
}

static long prefix_step(__u32 step, void *context)
{
	struct prefixes *prefixes = context;
	struct question *question = prefixes->question;
	struct wt_policy_key key = { .kind = POLICY_ADDRESS, .c = prefixes->port };

	if (step >= POLICY_PREFIXES_MAX || step >= question->header->count)
		return 1;
	key.dev = question->header->text[step];
	key.a = cut_to(prefixes->upper, key.dev);
	key.b = key.dev <= 64 ? 0 : cut_to(prefixes->lower, key.dev - 64);
	weigh(question, bpf_map_lookup_elem(question->table, &key), POLICY_ADDRESS);
	key.c = 0;
	weigh(question, bpf_map_lookup_elem(question->table, &key), POLICY_ADDRESS);
	return 0;
}

/* IPv4 is looked up as what it is in IPv6: ::ffff:a.b.c.d. */
static __always_inline void weigh_address(struct question *question, const struct endpoint *endpoint)
{
	struct prefixes prefixes = { .question = question, .port = endpoint->port };

	if (endpoint->family == AF_INET) {
		__u32 v4;

		__builtin_memcpy(&v4, endpoint->address, sizeof(v4));
		prefixes.lower = 0xffff00000000ull | __builtin_bswap32(v4);
	} else {
		__builtin_memcpy(&prefixes.upper, endpoint->address, sizeof(prefixes.upper));
		__builtin_memcpy(&prefixes.lower, endpoint->address + 8, sizeof(prefixes.lower));
		prefixes.upper = __builtin_bswap64(prefixes.upper);
		prefixes.lower = __builtin_bswap64(prefixes.lower);
	}
	bpf_loop(POLICY_PREFIXES_MAX, prefix_step, &prefixes, 0);
}

#define LOOPBACK_V4 0x7f000001u

/*
 * To connect to no address is to connect to this machine: of IPv4 to the address that the socket is bound to, else to the
 * loopback one (ip_route_output_key, tcp_v6_connect, udpv6_sendmsg in the kernel). False if an address was named.
 */
static __always_inline bool settle_any(struct endpoint *endpoint, const struct sock *sk)
{
	__u64 upper, lower, bound[2] = {};
	__u32 v4;

	__builtin_memcpy(&upper, endpoint->address, sizeof(upper));
	__builtin_memcpy(&lower, endpoint->address + 8, sizeof(lower));
	if (endpoint->family == AF_INET) {
		__builtin_memcpy(&v4, endpoint->address, sizeof(v4));
		if (v4)
			return false;
		v4 = sk->__sk_common.skc_family == AF_INET ? sk->__sk_common.skc_rcv_saddr : 0;
		if (!v4)
			v4 = __builtin_bswap32(LOOPBACK_V4);
		__builtin_memcpy(endpoint->address, &v4, sizeof(v4));
		return true;
	}
	/* ::ffff:0.0.0.0 is IPv4's. */
	if (!upper && lower == __builtin_bswap64(0xffff00000000ull)) {
		lower |= __builtin_bswap64((__u64)LOOPBACK_V4);
		__builtin_memcpy(endpoint->address + 8, &lower, sizeof(lower));
		return true;
	}
	if (upper || lower)
		return false;
	bpf_probe_read_kernel(bound, sizeof(bound), &sk->__sk_common.skc_v6_rcv_saddr);
	lower = __builtin_bswap64(1);
	if (!bound[0] && (__u32)bound[1] == __builtin_bswap32(0xffff))
		lower = __builtin_bswap64(0xffff00000000ull | LOOPBACK_V4);
	__builtin_memcpy(endpoint->address + 8, &lower, sizeof(lower));
	return true;
}

static __always_inline int judge_peer(__u32 hook, const struct sock *sk, const void *address, int bytes, __u16 unspecified)
{
	struct endpoint endpoint;
	struct question question = {};

	if (is_null(sk) || !ask(&question, ON_CONNECT) || !read_endpoint(&endpoint, address, bytes, unspecified)) {
		GUARD_COUNT(hook, filtered);
		return 0;
	}
	question.family = endpoint.family;
	question.port = endpoint.port;
	__builtin_memcpy(question.address, endpoint.address, sizeof(question.address));
	weigh_address(&question, &endpoint);
	if (settle_any(&endpoint, sk))
		weigh_address(&question, &endpoint);
	return answer(&question, hook, NULL, NULL, NULL);
}

SEC("lsm/socket_connect")
int BPF_PROG(guard_connect, struct socket *sock, struct sockaddr *address, int bytes, int ret)
{
	if (ret)
		return ret;
	GUARD_COUNT(GUARD_GUARD_CONNECT, hits);
	return judge_peer(GUARD_GUARD_CONNECT, sock->sk, address, bytes, AF_UNSPEC);
}

/* Sends on a connected socket are not asked about and not counted: this hook runs for every one of them. */
SEC("lsm/socket_sendmsg")
int BPF_PROG(guard_send, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	if (is_null(msg->msg_name))
		return 0;
	GUARD_COUNT(GUARD_GUARD_SEND, hits);
	sk = sock->sk;
	return judge_peer(GUARD_GUARD_SEND, sk, msg->msg_name, msg->msg_namelen, is_null(sk) ? AF_UNSPEC : unspecified_of(sock, sk));
}
