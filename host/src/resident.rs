//! Each process of ours touches far more of the executable and its libraries while it starts than while it works. Those pages are
//! given back: what is needed again is mapped again from the page cache, at the price of a minor fault.

use std::ffi::c_int;
use std::ptr;

/// Takes every page of program code and constants out of this process's resident memory. Nothing is written and nothing is lost:
/// only segments that are mapped without the right to write are looked at (`PT_LOAD` without `PF_W`, elf(5)), and their
/// content is the files'.
///
/// Returns the bytes of those segments. A segment that the kernel keeps (locked in memory) stays.
pub fn give_back_code() -> usize {
    let mut bytes = 0_usize;
    // SAFETY: the callback takes the loader's record and our count, and both live longer than this call.
    unsafe {
        libc::dl_iterate_phdr(Some(give_back_object), (&raw mut bytes).cast());
    }
    bytes
}

/// Called by the C library for each object that is loaded, with its lock held: makes no call into it but `madvise`.
unsafe extern "C" fn give_back_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    bytes: *mut libc::c_void,
) -> c_int {
    // SAFETY: the C library passes a valid record, and the count of `give_back_code`.
    let (info, bytes) = unsafe { (&*info, &mut *bytes.cast::<usize>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: as many headers lie there as the record says, for as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let Some((start, length)) = whole_pages(info.dlpi_addr.wrapping_add(header.p_vaddr), header.p_memsz) else {
            continue;
        };
        // SAFETY: the pages belong to a mapping of a file that nobody may write to: the next look reads the same bytes again.
        let given = unsafe { libc::madvise(ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED) };
        if given == 0 {
            *bytes = bytes.saturating_add(length);
        }
    }
    0
}

/// The pages that lie whole within a segment: those at its ends may belong to a neighbour that is written to.
fn whole_pages(start: u64, length: u64) -> Option<(usize, usize)> {
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let end = start.checked_add(length)? / page * page;
    let start = start.checked_next_multiple_of(page)?;
    let length = end.checked_sub(start).filter(|length| *length > 0)?;
    Some((usize::try_from(start).ok()?, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident pages that are a file's, from the third number of /proc/self/statm.
    fn resident_of_files() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("every Linux has it");
        statm.split(' ').nth(2).and_then(|pages| pages.parse().ok()).expect("a number")
    }

    #[test]
    fn what_is_given_back_is_no_longer_resident_and_still_runs() {
        let text = format!("{:?}", (1..2_000).map(f64::from).collect::<Vec<_>>()); // constants and code of some libraries
        let before = resident_of_files();
        let bytes = give_back_code();
        let after = resident_of_files();
        assert!(bytes > 1 << 20, "this test's own executable is larger than {bytes} bytes");
        assert!(after < before, "{before} pages before, {after} after");
        assert_eq!(text, format!("{:?}", (1..2_000).map(f64::from).collect::<Vec<_>>()));
    }

    #[test]
    fn pages_that_are_shared_with_a_neighbour_are_left() {
        let page = u64::try_from(rustix::param::page_size()).expect("a number");
        let of = |start, length| whole_pages(start, length);
        let size = usize::try_from(page).expect("a number");
        assert_eq!(of(4 * page, 2 * page), Some((4 * size, 2 * size)));
        assert_eq!(of(4 * page + 1, 2 * page), Some((5 * size, size)));
        assert_eq!(of(4 * page + 1, page), None);
        assert_eq!(of(u64::MAX - 1, 2), None);
        assert_eq!(of(u64::MAX, 2), None);
    }
}
