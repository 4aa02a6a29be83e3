//! How large anything may be. The server refuses what is larger before it reads on; the agent makes nothing larger.

/// Body of a check-in: a full state has some 2 KiB.
pub const CHECK_IN_BYTES_MAX: usize = 16 * 1024;
/// Body of an enrolment or a renewal: a signing request has some 1 KiB.
pub const ENROL_BYTES_MAX: usize = 16 * 1024;
/// Body of a batch of records as it travels, compressed.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// The same, decompressed: what a batch may cost in memory.
pub const BATCH_OPEN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Records of a batch.
pub const BATCH_RECORDS_MAX: usize = 1000;
/// Body of a request of the operator API.
pub const OPERATOR_BYTES_MAX: usize = 64 * 1024;
/// A name: of a host, kernel, distribution, workload, ring.
pub const NAME_BYTES_MAX: usize = 256;
/// An id: of a boot, an instance, a pack, a bucket, a rule.
pub const ID_BYTES_MAX: usize = 128;
/// A line of text: a crash's title, an alert's.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// An alert's event, as JSON.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// A doorbell is held no longer: proxies cut what is silent for five minutes.
pub const WAIT_S_MAX: u64 = 290;
