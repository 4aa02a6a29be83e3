//! The kernel's log, out of its ring.
//!
//! Since 5.10 the ring has two parts: descriptors, each with a state and the place of its text, and the text. Both are told by an
//! ever-growing number whose low bits are the place, so that a record that was overwritten is known by its number. VMCOREINFO has
//! the offset of every member. Before 5.10 records lie one behind the other in one buffer.

use super::vmcoreinfo::Vmcoreinfo;
use crate::machine::bytes::{u16_at, u64_at};
use crate::machine::memory::Memory;

/// Records of a log, at most: 2^22 bytes of the largest ring that a kernel can be told to have, by the shortest record.
const RECORDS_MAX: u64 = 1 << 18;
/// Text of a log, at most.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// Longest record.
const RECORD_BYTES_MAX: u64 = 1 << 16;
/// States of a descriptor, in the two upper bits of its number.
const STATE_SHIFT: u32 = 62;
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

/// The log as text, a line a record, as `dmesg` prints it.
pub(super) fn log(memory: &Memory<'_>, lines: &Vmcoreinfo, warnings: &mut Vec<String>) -> String {
    let found = match Ring::find(memory, lines) {
        Some(ring) => Some(ring.text(memory)),
        None => before_5_10(memory, lines),
    };
    let Some((text, lost)) = found else {
        warnings.push("the kernel's log could not be found: VMCOREINFO or memory is incomplete".to_owned());
        return String::new();
    };
    if lost > 0 {
        warnings.push(format!("{lost} records of the kernel's log could not be read"));
    }
    text
}

/// Where the parts of the ring are.
struct Ring {
    count_bits: u32,
    descriptors: u64,
    descriptor_size: u64,
    state_at: u64,
    block_begin_at: u64,
    block_next_at: u64,
    infos: u64,
    info_size: u64,
    time_at: usize,
    length_at: usize,
    head: u64,
    tail: u64,
    size_bits: u32,
    text: u64,
}

impl Ring {
    fn find(memory: &Memory<'_>, lines: &Vmcoreinfo) -> Option<Self> {
        let place = |base: u64, member: &str| Some(base.wrapping_add(lines.offset(member)?));
        // `prb` points at the ring: the one of the image, or the larger one that was allocated later.
        let ring = memory.u64_at(lines.symbol("prb")?)?;
        let descriptors = place(ring, "printk_ringbuffer.desc_ring")?;
        let texts = place(ring, "printk_ringbuffer.text_data_ring")?;
        let counter = lines.offset("atomic_long_t.counter")?;
        let number = |base: u64, member: &str| memory.u64_at(place(base, member)?.wrapping_add(counter));
        let bits = |base: u64, member: &str| memory.u32_at(place(base, member)?).filter(|bits| *bits < 32);
        let position = lines.offset("prb_desc.text_blk_lpos")?;
        Some(Self {
            count_bits: bits(descriptors, "prb_desc_ring.count_bits")?,
            descriptors: memory.u64_at(place(descriptors, "prb_desc_ring.descs")?)?,
            descriptor_size: lines.size("prb_desc")?,
            state_at: lines.offset("prb_desc.state_var")?.wrapping_add(counter),
            block_begin_at: position.wrapping_add(lines.offset("prb_data_blk_lpos.begin")?),
            block_next_at: position.wrapping_add(lines.offset("prb_data_blk_lpos.next")?),
            infos: memory.u64_at(place(descriptors, "prb_desc_ring.infos")?)?,
            info_size: lines.size("printk_info")?.min(RECORD_BYTES_MAX),
            time_at: usize::try_from(lines.offset("printk_info.ts_nsec")?).ok()?,
            length_at: usize::try_from(lines.offset("printk_info.text_len")?).ok()?,
            head: number(descriptors, "prb_desc_ring.head_id")?,
            tail: number(descriptors, "prb_desc_ring.tail_id")?,
            size_bits: bits(texts, "prb_data_ring.size_bits")?,
            text: memory.u64_at(place(texts, "prb_data_ring.data")?)?,
        })
    }

    /// The text, and how many records could not be read.
    fn text(&self, memory: &Memory<'_>) -> (String, u64) {
        let (mut text, mut lost) = (String::new(), 0_u64);
        let records = self.head.wrapping_sub(self.tail).wrapping_add(1).min(1 << self.count_bits).min(RECORDS_MAX);
        for step in 0..records {
            let number = self.tail.wrapping_add(step) & low_bits(STATE_SHIFT);
            match self.record(memory, number) {
                Some(Record::Text(nanoseconds, message)) => push(&mut text, nanoseconds, &message),
                Some(Record::None) => {}
                None => lost = lost.saturating_add(1),
            }
            if text.len() > TEXT_BYTES_MAX {
                lost = lost.saturating_add(records.saturating_sub(step));
                break;
            }
        }
        (text, lost)
    }

    fn record(&self, memory: &Memory<'_>, number: u64) -> Option<Record> {
        let index = number & low_bits(self.count_bits);
        let descriptor = self.descriptors.wrapping_add(index.wrapping_mul(self.descriptor_size));
        let state = memory.u64_at(descriptor.wrapping_add(self.state_at))?;
        let is_written = matches!(state >> STATE_SHIFT, COMMITTED | FINALIZED);
        if !is_written || state & low_bits(STATE_SHIFT) != number {
            return Some(Record::None);
        }
        let begin = memory.u64_at(descriptor.wrapping_add(self.block_begin_at))?;
        let next = memory.u64_at(descriptor.wrapping_add(self.block_next_at))?;
        // An odd place says that there is no text.
        if begin & 1 == 1 || next & 1 == 1 {
            return Some(Record::None);
        }
        let size = 1_u64 << self.size_bits;
        let (mut from, to) = (begin & size.wrapping_sub(1), next & size.wrapping_sub(1));
        // A block that would wrap lies at the start of the ring.
        if begin >> self.size_bits != next >> self.size_bits && to != 0 {
            from = 0;
        }
        let end = if to == 0 { size } else { to };
        // The record's number stands before its text.
        let room = end.checked_sub(from)?.checked_sub(8)?;
        let info = self.infos.wrapping_add(index.wrapping_mul(self.info_size));
        let info = memory.all(info, usize::try_from(self.info_size).ok()?)?;
        let length = u64::from(u16_at(&info, self.length_at)?).min(room).min(RECORD_BYTES_MAX);
        let message = memory.all(self.text.wrapping_add(from).wrapping_add(8), usize::try_from(length).ok()?)?;
        Some(Record::Text(u64_at(&info, self.time_at)?, message))
    }
}

/// What a descriptor has.
enum Record {
    /// Nanoseconds since the start, and the message.
    Text(u64, Vec<u8>),
    /// Nothing: it is being written, or was given up.
    None,
}

/// So many low bits, set.
fn low_bits(bits: u32) -> u64 {
    1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

/// Structured records of 3.5 to 5.9.
fn before_5_10(memory: &Memory<'_>, lines: &Vmcoreinfo) -> Option<(String, u64)> {
    let buffer = memory.u64_at(lines.symbol("log_buf")?)?;
    let mut at = u64::from(memory.u32_at(lines.symbol("log_first_idx")?)?);
    let next = u64::from(memory.u32_at(lines.symbol("log_next_idx")?)?);
    let head = usize::try_from(lines.size("printk_log")?.min(RECORD_BYTES_MAX)).ok()?;
    let offset = |member: &str| usize::try_from(lines.offset(member)?).ok();
    let (time_at, whole_at) = (offset("printk_log.ts_nsec")?, offset("printk_log.len")?);
    let length_at = offset("printk_log.text_len")?;
    let mut text = String::new();
    for _ in 0..RECORDS_MAX {
        if at == next || text.len() > TEXT_BYTES_MAX {
            return Some((text, 0));
        }
        let Some(record) = memory.all(buffer.wrapping_add(at), head) else { return Some((text, 1)) };
        let whole = u64::from(u16_at(&record, whole_at)?);
        if whole == 0 {
            // The rest of the buffer was too short for the next record, which lies at its start.
            at = 0;
            continue;
        }
        let length = usize::from(u16_at(&record, length_at)?);
        let from = buffer.wrapping_add(at).wrapping_add(u64::try_from(head).ok()?);
        push(&mut text, u64_at(&record, time_at)?, &memory.some(from, length));
        at = at.wrapping_add(whole);
    }
    Some((text, 1))
}

/// A message with its time before each of its lines.
fn push(text: &mut String, nanoseconds: u64, message: &[u8]) {
    use std::fmt::Write as _;
    let (seconds, microseconds) = (nanoseconds / 1_000_000_000, nanoseconds / 1_000 % 1_000_000);
    for line in String::from_utf8_lossy(message).trim_end_matches('\n').split('\n') {
        // Writing into a string can't fail.
        let _ = writeln!(text, "[{seconds:5}.{microseconds:06}] {line}");
    }
}
