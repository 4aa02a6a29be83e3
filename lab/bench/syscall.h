/* SPDX-License-Identifier: Apache-2.0 */
/* System calls without a C library, so that a benchmark counts the kernel's work and not a library's start. x86-64 only. */
#pragma once
#include <asm/unistd_64.h>

static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
	long answer;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return answer;
}

#define CALL0(number) call6(number, 0, 0, 0, 0, 0, 0)
#define CALL1(number, a) call6(number, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(number, a, b) call6(number, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(number, a, b, c) call6(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(number, a, b, c, d) call6(number, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define CALL5(number, a, b, c, d, e) call6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline __attribute__((noreturn)) void leave(int code)
{
	for (;;)
		CALL1(__NR_exit_group, code);
}
