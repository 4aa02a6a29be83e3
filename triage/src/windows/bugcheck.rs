//! Stop codes: their names, and what their parameters mean for the fault.

use crate::report::Operation;

/// How a stop code's parameters tell of the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Exception code, address of the instruction, address of the exception record, address of the CONTEXT.
    CodeIpRecordContext,
    /// Exception code, address of the instruction, address of the CONTEXT.
    CodeIpContext,
    /// Exception code, address of the instruction, the exception's first two parameters.
    CodeIpParameters,
    /// Exception code, address of the instruction, address of the trap frame.
    CodeIpTrapFrame,
    /// Address, operation (0 read, 2 or 1 write, 10h execute), instruction, the memory manager's own code.
    AddressOperationIp,
    /// Address, IRQL, operation (bit 0 write, bit 3 execute), instruction.
    AddressIrqlOperationIp,
    /// Subtype, address of the trap frame, address of the exception record.
    SubtypeTrapFrameRecord,
    /// Address, page table entry, trap frame; always a write.
    WrittenAddress,
    /// Address, page table entry, trap frame; always an execution.
    ExecutedAddress,
    /// Number of the processor's trap.
    Trap,
    /// Not the fault of one instruction.
    Other,
}

/// Stop codes by number.
const CODES: [(u32, &str, Meaning); 57] = [
    (0x01, "APC_INDEX_MISMATCH", Meaning::Other),
    (0x0a, "IRQL_NOT_LESS_OR_EQUAL", Meaning::AddressIrqlOperationIp),
    (0x18, "REFERENCE_BY_POINTER", Meaning::Other),
    (0x19, "BAD_POOL_HEADER", Meaning::Other),
    (0x1a, "MEMORY_MANAGEMENT", Meaning::Other),
    (0x1e, "KMODE_EXCEPTION_NOT_HANDLED", Meaning::CodeIpParameters),
    (0x24, "NTFS_FILE_SYSTEM", Meaning::Other),
    (0x34, "CACHE_MANAGER", Meaning::Other),
    (0x3b, "SYSTEM_SERVICE_EXCEPTION", Meaning::CodeIpContext),
    (0x3d, "INTERRUPT_EXCEPTION_NOT_HANDLED", Meaning::Other),
    (0x44, "MULTIPLE_IRP_COMPLETE_REQUESTS", Meaning::Other),
    (0x4e, "PFN_LIST_CORRUPT", Meaning::Other),
    (0x50, "PAGE_FAULT_IN_NONPAGED_AREA", Meaning::AddressOperationIp),
    (0x51, "REGISTRY_ERROR", Meaning::Other),
    (0x5c, "HAL_INITIALIZATION_FAILED", Meaning::Other),
    (0x74, "BAD_SYSTEM_CONFIG_INFO", Meaning::Other),
    (0x77, "KERNEL_STACK_INPAGE_ERROR", Meaning::Other),
    (0x7a, "KERNEL_DATA_INPAGE_ERROR", Meaning::Other),
    (0x7b, "INACCESSIBLE_BOOT_DEVICE", Meaning::Other),
    (0x7e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED", Meaning::CodeIpRecordContext),
    (0x7f, "UNEXPECTED_KERNEL_MODE_TRAP", Meaning::Trap),
    (0x8e, "KERNEL_MODE_EXCEPTION_NOT_HANDLED", Meaning::CodeIpTrapFrame),
    (0x9c, "MACHINE_CHECK_EXCEPTION", Meaning::Other),
    (0x9f, "DRIVER_POWER_STATE_FAILURE", Meaning::Other),
    (0xa0, "INTERNAL_POWER_ERROR", Meaning::Other),
    (0xbe, "ATTEMPTED_WRITE_TO_READONLY_MEMORY", Meaning::WrittenAddress),
    (0xc1, "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION", Meaning::Other),
    (0xc2, "BAD_POOL_CALLER", Meaning::Other),
    (0xc4, "DRIVER_VERIFIER_DETECTED_VIOLATION", Meaning::Other),
    (0xc5, "DRIVER_CORRUPTED_EXPOOL", Meaning::AddressIrqlOperationIp),
    (0xc9, "DRIVER_VERIFIER_IOMANAGER_VIOLATION", Meaning::Other),
    (0xcc, "PAGE_FAULT_IN_FREED_SPECIAL_POOL", Meaning::AddressOperationIp),
    (0xcd, "PAGE_FAULT_BEYOND_END_OF_ALLOCATION", Meaning::AddressOperationIp),
    (0xce, "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS", Meaning::AddressOperationIp),
    (0xd0, "DRIVER_CORRUPTED_MMPOOL", Meaning::AddressIrqlOperationIp),
    (0xd1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL", Meaning::AddressIrqlOperationIp),
    (0xd3, "DRIVER_PORTION_MUST_BE_NONPAGED", Meaning::AddressIrqlOperationIp),
    (0xd5, "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL", Meaning::AddressOperationIp),
    (0xd6, "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION", Meaning::AddressOperationIp),
    (0xe2, "MANUALLY_INITIATED_CRASH", Meaning::Other),
    (0xef, "CRITICAL_PROCESS_DIED", Meaning::Other),
    (0xf4, "CRITICAL_OBJECT_TERMINATION", Meaning::Other),
    (0xf7, "DRIVER_OVERRAN_STACK_BUFFER", Meaning::Other),
    (0xfc, "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY", Meaning::ExecutedAddress),
    (0x101, "CLOCK_WATCHDOG_TIMEOUT", Meaning::Other),
    (0x109, "CRITICAL_STRUCTURE_CORRUPTION", Meaning::Other),
    (0x113, "VIDEO_DXGKRNL_FATAL_ERROR", Meaning::Other),
    (0x116, "VIDEO_TDR_FAILURE", Meaning::Other),
    (0x124, "WHEA_UNCORRECTABLE_ERROR", Meaning::Other),
    (0x12b, "FAULTY_HARDWARE_CORRUPTED_PAGE", Meaning::Other),
    (0x133, "DPC_WATCHDOG_VIOLATION", Meaning::Other),
    (0x139, "KERNEL_SECURITY_CHECK_FAILURE", Meaning::SubtypeTrapFrameRecord),
    (0x13a, "KERNEL_MODE_HEAP_CORRUPTION", Meaning::Other),
    (0x154, "UNEXPECTED_STORE_EXCEPTION", Meaning::Other),
    (0x18b, "SECURE_KERNEL_ERROR", Meaning::Other),
    (0x1c8, "MANUALLY_INITIATED_POWER_BUTTON_HOLD", Meaning::Other),
    (0x1d3, "WINLOGON_FATAL_ERROR", Meaning::Other),
];

/// The bit that a kernel sets in a stop code whose parameters are those of the code without it (small dumps).
pub(super) const M_BIT: u32 = 0x1000_0000;

/// A stop code's name and what its parameters mean. The name keeps the `_M` of codes with that bit, as debuggers print it.
pub(super) fn known(code: u32) -> (Option<String>, Meaning) {
    let Some((_, name, meaning)) = CODES.iter().find(|(number, _, _)| *number == code & !M_BIT) else {
        return (None, Meaning::Other);
    };
    let suffix = if code & M_BIT != 0 { "_M" } else { "" };
    (Some(format!("{name}{suffix}")), *meaning)
}

/// The operation of a stop code that tells it as 0, 1 or 2, 8 or 10h.
pub(super) fn operation(number: u64) -> Operation {
    if number & 0x18 != 0 {
        Operation::Execute
    } else if number & 3 != 0 {
        Operation::Write
    } else {
        Operation::Read
    }
}

/// Names of exception codes.
pub(super) fn exception_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0x8000_0001 => "STATUS_GUARD_PAGE_VIOLATION",
        0x8000_0002 => "STATUS_DATATYPE_MISALIGNMENT",
        0x8000_0003 => "STATUS_BREAKPOINT",
        0xc000_0005 => "STATUS_ACCESS_VIOLATION",
        0xc000_0006 => "STATUS_IN_PAGE_ERROR",
        0xc000_001d => "STATUS_ILLEGAL_INSTRUCTION",
        0xc000_0094 => "STATUS_INTEGER_DIVIDE_BY_ZERO",
        0xc000_0095 => "STATUS_INTEGER_OVERFLOW",
        0xc000_0096 => "STATUS_PRIVILEGED_INSTRUCTION",
        0xc000_00fd => "STATUS_STACK_OVERFLOW",
        0xc000_0409 => "STATUS_STACK_BUFFER_OVERRUN",
        0xc000_0420 => "STATUS_ASSERTION_FAILURE",
        _ => return None,
    })
}

/// The processor's trap that a 7F tells by number.
pub(super) fn trap_name(number: u64) -> Option<&'static str> {
    Some(match number {
        0 => "a division by zero",
        4 => "an overflow",
        5 => "a bounds check",
        6 => "an invalid instruction",
        8 => "a double fault, most often a kernel stack that overflowed",
        0xd => "a general protection fault",
        0x11 => "an alignment check",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_named_once() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(known(0x1000_007e).0.as_deref(), Some("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"));
        assert_eq!(known(0xdead_beef).0, None);
    }
}
