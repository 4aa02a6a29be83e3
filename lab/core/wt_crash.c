// SPDX-License-Identifier: GPL-2.0
// A module that makes the kernel crash in the way that is written to /sys/module/wt_crash/parameters/now. Functions are kept apart,
// so that the calls that led to the fault are known.
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/string.h>

static DEFINE_MUTEX(held);
static int deepest;

static noinline void crash_write(int *place)
{
	WRITE_ONCE(*place, 7);
	barrier();
}

static noinline void crash_null(int *place)
{
	crash_write(place + 4);
	barrier();
}

static noinline int crash_recurse(int depth)
{
	volatile char room[512];

	room[0] = depth;
	deepest = depth;
	return depth < 0 ? 0 : crash_recurse(depth + 1) + room[0];
}

static noinline void crash_hang(void)
{
	mutex_lock(&held);
	mutex_lock(&held);
	barrier();
}

static int crash_now(const char *kind, const struct kernel_param *param)
{
	if (sysfs_streq(kind, "null"))
		crash_null(NULL);
	else if (sysfs_streq(kind, "stack"))
		crash_recurse(1);
	else if (sysfs_streq(kind, "hung"))
		crash_hang();
	else
		return -EINVAL;
	return 0;
}

static const struct kernel_param_ops crash_ops = { .set = crash_now };
module_param_cb(now, &crash_ops, NULL, 0200);
MODULE_DESCRIPTION("Crashes the kernel of a test guest when told to");
MODULE_LICENSE("GPL");
