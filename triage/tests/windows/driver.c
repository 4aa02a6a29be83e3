/* A driver with the fault of the published crash: a template asks for a 21st input where 20 were given. Compiled by the test at
   several levels of optimization; the functions keep values alive over calls so that prologues save registers. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define INPUTS 20
#define FIELDS 21

/* What lies behind the inputs is whatever lay there. */
struct call {
	const u32 *inputs[INPUTS];
	const u32 *behind;
};

static volatile u32 numbers[INPUTS];
static volatile u64 sink;
static struct call given;

__attribute__((noinline)) u32 compare(const u32 *input, u32 number)
{
	return *input ^ number;
}

__attribute__((noinline)) u64 match(const struct call *call, u32 field, u64 seed, u64 salt)
{
	u64 before = seed * 31 + salt;
	u32 word = compare(call->inputs[field], field);

	sink += before;
	return word ? before + seed : salt;
}

__attribute__((noinline)) u64 evaluate(const struct call *call, u32 fields, u64 seed)
{
	volatile u64 found[16];
	u64 sum = seed, left = fields;

	for (u32 field = 0; field < fields; field++) {
		found[field & 15] = match(call, field, sum, left);
		sum += found[field & 15];
		left--;
	}
	return sum + left;
}

__attribute__((noinline)) u64 dispatch(u64 a, u64 b, u64 c, u64 d, u64 e)
{
	u64 first = evaluate(&given, FIELDS, a + e);
	u64 second = evaluate(&given, INPUTS, b);

	return first ^ second ^ c ^ d;
}

int entry(void *driver, void *path)
{
	for (u32 number = 0; number < INPUTS; number++) {
		numbers[number] = number * 3;
		given.inputs[number] = (const u32 *)&numbers[number];
	}
	given.behind = (const u32 *)0xffff840500000074ull;
	sink = dispatch((u64)driver, (u64)path, 3, 4, 5);
	return (int)sink;
}
