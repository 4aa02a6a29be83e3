//! Ids of processes that are unique over reuse of pids and over boots: `BOOT-START-PID`, the last two in hexadecimal.

use watertight_event::Text;

/// Two dashes and two numbers in hexadecimal.
const NUMBERS_BYTES: usize = 26;
/// Processes whose ids are kept at hand: an id is made once for the many records of a process.
const KEPT: usize = 256;

/// Makes the ids of one boot.
#[derive(Debug)]
pub struct ProcessIds {
    boot_id: String,
    /// By the pid's lowest bits.
    kept: Vec<Kept>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    start_ns: u64,
    pid: u32,
    /// Empty before the first.
    id: Text,
}

impl ProcessIds {
    /// Ids that begin with this boot's.
    #[must_use]
    pub fn new(boot_id: &str) -> Self {
        Self { boot_id: boot_id.to_owned(), kept: vec![Kept::default(); KEPT] }
    }

    /// The id of the process with this pid that began so many nanoseconds after the boot.
    pub fn of(&mut self, start_ns: u64, pid: u32) -> Text {
        let Some(kept) = self.kept.get_mut(pid as usize % KEPT) else { return written(&self.boot_id, start_ns, pid) };
        if (kept.start_ns, kept.pid) != (start_ns, pid) || kept.id.bytes.is_empty() {
            // A clone is what all further clones share.
            *kept = Kept { start_ns, pid, id: written(&self.boot_id, start_ns, pid).clone() };
        }
        kept.id.clone()
    }
}

fn written(boot_id: &str, start_ns: u64, pid: u32) -> Text {
    let mut bytes = Vec::with_capacity(boot_id.len().saturating_add(NUMBERS_BYTES));
    bytes.extend_from_slice(boot_id.as_bytes());
    for number in [start_ns, u64::from(pid)] {
        let mut digits = [b'0'; 16];
        let mut first = digits.len();
        let mut left = number;
        for (at, place) in digits.iter_mut().enumerate().rev() {
            *place = b"0123456789abcdef"[(left & 0xf) as usize];
            first = at;
            left >>= 4;
            if left == 0 {
                break;
            }
        }
        bytes.push(b'-');
        bytes.extend_from_slice(digits.get(first..).unwrap_or_default());
    }
    Text::whole(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_boot_start_and_pid_however_often_and_in_whatever_order_it_is_asked_for() {
        let mut ids = ProcessIds::new("b");
        let kept = u32::try_from(KEPT).expect("small");
        let asked = [(0, 0), (7, 4), (7, 4), (7, 4 + kept), (8, 4), (7, 4), (u64::MAX, u32::MAX), (0, 0)];
        for (start_ns, pid) in asked {
            assert_eq!(ids.of(start_ns, pid).lossy(), format!("b-{start_ns:x}-{pid:x}"));
        }
    }
}
