//! QEMU guests on stock Debian kernels: where the kernel parts are tested.
