// A process that ends at once: static, without libc and without a stack frame, 10 instructions of its own. What a storm of
// these costs is what the kernel and the sensor cost.
__attribute__((noreturn, naked)) void _start(void)
{
	__asm__ volatile("xor %edi, %edi\n\tmov $60, %eax\n\tsyscall\n\tud2");
}
