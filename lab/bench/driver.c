// SPDX-License-Identifier: Apache-2.0
// Does one kind of work a number of times and says what it cost: `driver WORK COUNT [ARGUMENT...]` prints one line,
// `COUNT CPU_NS ELAPSED_NS`: the processor time of itself and of the children it waited for, and the time that passed.
//
// A process of its own without libc: what a benchmark's harness does beside (threads, heap, reading /proc) is not in it. The
// work's set-up (sockets, buffers) is done before the clock is read.
#include "syscall.h"

enum { CLOCK_MONOTONIC = 1 };
enum { RUSAGE_SELF = 0, RUSAGE_CHILDREN = -1 };
enum { O_RDONLY = 0, O_WRONLY = 1, AT_FDCWD = -100 };
enum { AF_INET = 2, SOCK_STREAM = 1, SOL_SOCKET = 1, SO_LINGER = 13, SIGCHLD = 17 };
enum { WRITE_BYTES = 1024, WRITE_ROUND = 64 };

struct timeval { long seconds, microseconds; };
struct timespec { long seconds, nanoseconds; };
struct rusage { struct timeval user, system; long others[14]; };
struct sockaddr_in { unsigned short family, port; unsigned int address; char zero[8]; };
struct linger { int is_on, seconds; };

static char buffer[WRITE_BYTES];

/* The compiler asks for it by name. */
void *memset(void *to, int value, unsigned long bytes)
{
	volatile char *at = to;

	while (bytes--)
		*at++ = value;
	return to;
}

static unsigned long length(const char *text)
{
	unsigned long bytes = 0;

	while (text[bytes])
		bytes++;
	return bytes;
}

static int is_same(const char *left, const char *right)
{
	while (*left && *left == *right)
		left++, right++;
	return *left == *right;
}

static __attribute__((noreturn)) void fail(const char *what)
{
	CALL3(__NR_write, 2, "driver: ", 8);
	CALL3(__NR_write, 2, what, length(what));
	CALL3(__NR_write, 2, " failed\n", 8);
	leave(1);
}

static long check(const char *what, long answer)
{
	if (answer < 0)
		fail(what);
	return answer;
}

static long cpu_ns(void)
{
	long microseconds = 0;

	for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
		struct rusage usage;

		check("getrusage", CALL2(__NR_getrusage, who, &usage));
		microseconds += (usage.user.seconds + usage.system.seconds) * 1000000;
		microseconds += usage.user.microseconds + usage.system.microseconds;
	}
	return microseconds * 1000;
}

static long elapsed_ns(void)
{
	struct timespec now;

	check("clock_gettime", CALL2(__NR_clock_gettime, CLOCK_MONOTONIC, &now));
	return now.seconds * 1000000000 + now.nanoseconds;
}

static char *put_number(char *at, long value)
{
	do
		*--at = '0' + value % 10;
	while (value /= 10);
	return at;
}

static void say(long count, long cpu, long elapsed)
{
	char line[80];
	char *end = line + sizeof(line), *at = end;

	*--at = '\n';
	at = put_number(at, elapsed);
	*--at = ' ';
	at = put_number(at, cpu);
	*--at = ' ';
	at = put_number(at, count);
	CALL3(__NR_write, 1, at, end - at);
}

static void spawn(long count, char **argv, char **envp)
{
	while (count--) {
		int status = 0;
		long pid = check("fork", CALL5(__NR_clone, SIGCHLD, 0, 0, 0, 0));

		if (pid == 0) {
			CALL3(__NR_execve, argv[0], argv, envp);
			leave(127);
		}
		check("wait", CALL4(__NR_wait4, pid, &status, 0, 0));
		if (status)
			fail(argv[0]);
	}
}

/* Leaves so many processes behind that do nothing. */
static void idle(long count)
{
	while (count--) {
		if (check("fork", CALL5(__NR_clone, SIGCHLD, 0, 0, 0, 0)))
			continue;
		for (int file = 0; file <= 2; file++)
			CALL1(__NR_close, file);        /* who waits for the end of the output waits for the parent alone */
		for (;;)
			CALL0(__NR_pause);
	}
}

static void open_close(long count, const char *path, int flags)
{
	while (count--)
		CALL1(__NR_close, check("open", CALL4(__NR_openat, AT_FDCWD, path, flags, 0)));
}

static void write_file(long count, const char *path)
{
	long file = check("open", CALL4(__NR_openat, AT_FDCWD, path, O_WRONLY, 0));

	for (long at = 0; at < count; at++)
		check("write", CALL4(__NR_pwrite64, file, buffer, sizeof(buffer), at % WRITE_ROUND * WRITE_BYTES));
}

static void connect_loopback(long count)
{
	struct sockaddr_in address;
	struct linger at_once;
	int bytes = sizeof(address);
	long listener = check("socket", CALL3(__NR_socket, AF_INET, SOCK_STREAM, 0));

	memset(&address, 0, sizeof(address));
	address.family = AF_INET;
	address.address = 0x0100007f; /* 127.0.0.1, and a port that the kernel picks */
	check("bind", CALL3(__NR_bind, listener, &address, sizeof(address)));
	check("listen", CALL2(__NR_listen, listener, 16));
	check("getsockname", CALL3(__NR_getsockname, listener, &address, &bytes));
	at_once.is_on = 1; /* reset instead of a minute in TIME_WAIT: the ports would run out */
	at_once.seconds = 0;
	while (count--) {
		long client = check("socket", CALL3(__NR_socket, AF_INET, SOCK_STREAM, 0));
		long server;

		check("setsockopt", CALL5(__NR_setsockopt, client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
		check("connect", CALL3(__NR_connect, client, &address, sizeof(address)));
		server = check("accept", CALL4(__NR_accept4, listener, 0, 0, 0));
		CALL1(__NR_close, client);
		CALL1(__NR_close, server);
	}
}

static long number(const char *text)
{
	long value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (*text - '0');
	return value;
}

static __attribute__((noreturn, used)) void run(long argc, char **argv)
{
	char **envp = argv + argc + 1;
	const char *work = argc > 1 ? argv[1] : "";
	long count = argc > 2 ? number(argv[2]) : 0;
	char *argument = argc > 3 ? argv[3] : 0;
	long cpu_before = cpu_ns(), elapsed_before = elapsed_ns();

	if (is_same(work, "connect"))
		connect_loopback(count);
	else if (is_same(work, "idle"))
		idle(count);
	else if (!argument)
		fail("usage: driver exec|open-read|open-write|write|connect|idle COUNT [ARGUMENT...]");
	else if (is_same(work, "exec"))
		spawn(count, argv + 3, envp);
	else if (is_same(work, "open-read"))
		open_close(count, argument, O_RDONLY);
	else if (is_same(work, "open-write"))
		open_close(count, argument, O_WRONLY);
	else if (is_same(work, "write"))
		write_file(count, argument);
	else
		fail(work);
	say(count, cpu_ns() - cpu_before, elapsed_ns() - elapsed_before);
	leave(0);
}

/* The kernel leaves argc and argv on the stack, aligned to 16 bytes. */
__asm__(".globl _start\n_start:\n\tmov (%rsp), %rdi\n\tlea 8(%rsp), %rsi\n\tcall run\n");
