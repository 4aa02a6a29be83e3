// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// A TCP socket changes its state. Only CLOSE -> SYN_SENT and CLOSE -> LISTEN run in the process that acts; what comes later
// runs wherever the packet arrived, so the opener is remembered with the socket.
// One connect, one story: where the LSM hooks have told of a connect or a listen, the change of state that it causes is
// filtered, and so is an incoming connection where accept() tells of it. What no LSM hook sees (TCP fast open by sendmsg,
// sockets of the kernel) is told from here. The end of a connection is left out: it would double the events of short ones
// and say nothing of them. That one could not be opened is told.
// Prototype (6.1, 6.12, 6.18): void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)
#include "socket.h"

enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_LISTEN = 10, TCP_NEW_SYN_RECV = 12 };

/* Set by the loader: the hook on accept() is there, and it knows the process. */
const volatile __u32 is_accept_told SEC(".rodata.sock_state") = 0;

/* Whose operations are counted where no process is known: an accepted connection's. */
static const struct wt_process nobody;

static __always_inline bool is_reported(int old, int new)
{
	if (new == TCP_SYN_SENT || new == TCP_LISTEN)
		return old == TCP_CLOSE;
	if (new == TCP_ESTABLISHED)
		return old == TCP_SYN_SENT || (old == TCP_SYN_RECV && !is_accept_told);
	return new == TCP_CLOSE && old == TCP_SYN_SENT;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sock_state, struct sock *sk, int old, int new)
{
	struct socket_story *story;
	struct wt_process *process;
	struct scratch *scratch;
	struct wt_socket *body;

	COUNT(HOOK_SOCK_STATE, hits);
	if (sk->sk_protocol != IPPROTO_TCP || !is_reported(old, new)) {
		COUNT(HOOK_SOCK_STATE, filtered);
		return 0;
	}
	story = bpf_sk_storage_get(&socket_stories, sk, NULL, old == TCP_CLOSE ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (old == TCP_CLOSE && story) {
		bool is_told = story->is_told;

		story->is_muted = is_muted(CLASS_NET, NULL, NULL);
		story->is_told = 0;
		if (is_told) {
			COUNT(HOOK_SOCK_STATE, filtered);
			return 0;
		}
		fill_current(&story->process);
	}
	if (story && story->is_muted) {
		COUNT(HOOK_SOCK_STATE, filtered);
		return 0;
	}
	if (is_net_counted(HOOK_SOCK_STATE, story ? &story->process : &nobody))
		return 0;
	scratch = begin_without_process(HOOK_SOCK_STATE, RECORD_SOCKET, sizeof(*body));
	if (!scratch)
		return 0;
	process = (void *)(scratch->data + sizeof(struct wt_header));
	body = BODY(scratch, wt_socket);
	fill_socket(body, sk);
	body->old_state = old;
	body->new_state = new;
	if (story) {
		*process = story->process;
		((struct wt_header *)scratch->data)->flags = FLAG_HAS_PROCESS;
		body->is_initiated = old != TCP_CLOSE;
	} else if (old == TCP_CLOSE) {          /* no memory for the story: the process is at least known now */
		fill_current(process);
		((struct wt_header *)scratch->data)->flags = FLAG_HAS_PROCESS;
	}
	if (new == TCP_SYN_SENT)
		body->is_initiated = 1;
	submit_net(scratch, HOOK_SOCK_STATE);
	return 0;
}
