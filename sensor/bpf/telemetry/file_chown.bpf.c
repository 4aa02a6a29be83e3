// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Owner or group change. One that is left as it is comes as 0xffffffff.
// Prototype (6.1, 6.12): int path_chown(const struct path *path, kuid_t uid, kgid_t gid); both are structs of four bytes
#include "pressure.h"

SEC("lsm/path_chown")
int BPF_PROG(file_chown, const struct path *path, __u64 uid, __u64 gid, int ret)
{
	struct scratch *scratch;
	struct wt_file *body;

	if (ret)
		return ret;
	COUNT(HOOK_FILE_CHOWN, hits);
	if (is_file_left_out(HOOK_FILE_CHOWN, path->dentry, NULL))
		return 0;
	scratch = begin(HOOK_FILE_CHOWN, RECORD_FILE, sizeof(*body));
	if (!scratch)
		return 0;
	body = BODY(scratch, wt_file);
	fill_identity(body, path->dentry->d_inode);
	body->uid = (__u32)uid;
	body->gid = (__u32)gid;
	append_path(scratch, TAG_PATH, path->dentry, path->mnt);
	submit_file(scratch, HOOK_FILE_CHOWN);
	return 0;
}
