//! Event sources for kernels that refuse BPF LSM, declared as degraded.
