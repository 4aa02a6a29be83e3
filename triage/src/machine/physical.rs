//! Where in the file a physical page lies: by runs of pages, or by a bit for each. Neither is unrolled into a table of pages: a dump of
//! 1 TB would need gigabytes for it, and a forged one could claim any size.

use super::bytes::u64_at;

/// Size of a page.
pub(crate) const PAGE_BYTES: u64 = 0x1000;
/// Longest bitmap that is read: pages of 2 TB.
pub(crate) const BITMAP_BYTES_MAX: u64 = 64 << 20;
/// Words of the bitmap between two stored counts.
const WORDS_PER_COUNT: usize = 64;

/// The page index of a dump.
#[derive(Debug)]
pub(crate) enum Pages {
    /// (first page, pages, file offset), sorted by the first page.
    Runs(Vec<(u64, u64, u64)>),
    /// A bit a page; pages follow in order.
    Bitmap { words: Vec<u64>, counts: Vec<u64>, first_page: u64 },
}

impl Pages {
    /// Runs of pages, whose bytes follow each other from a file offset on.
    pub(crate) fn of_runs(runs: impl Iterator<Item = (u64, u64)>, mut offset: u64) -> Self {
        let mut placed = Vec::new();
        for (first, pages) in runs {
            placed.push((first, pages, offset));
            offset = offset.saturating_add(pages.saturating_mul(PAGE_BYTES));
        }
        placed.sort_unstable();
        Self::Runs(placed)
    }

    /// Pages with a bit each, the first of them at a file offset.
    pub(crate) fn of_bitmap(mut bitmap: Vec<u8>, bits: u64, first_page: u64) -> Self {
        bitmap.truncate(usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX));
        if let (Some(last), 1..=7) = (bitmap.last_mut(), bits % 8) {
            *last &= (1_u8 << (bits % 8)).wrapping_sub(1);
        }
        bitmap.resize(bitmap.len().next_multiple_of(8), 0);
        let words: Vec<u64> = bitmap.chunks_exact(8).filter_map(|word| u64_at(word, 0)).collect();
        let mut total = 0_u64;
        let mut counts = Vec::new();
        for chunk in words.chunks(WORDS_PER_COUNT) {
            counts.push(total);
            total = chunk.iter().fold(total, |sum, word| sum.saturating_add(u64::from(word.count_ones())));
        }
        Self::Bitmap { words, counts, first_page }
    }

    /// The file offset of a page.
    pub(crate) fn offset_of(&self, page: u64) -> Option<u64> {
        match self {
            Self::Runs(runs) => {
                let before = runs.partition_point(|(first, _, _)| *first <= page);
                // Runs of a forged dump may overlap; the nearest one that starts before the page decides.
                let (first, pages, offset) = runs.get(before.checked_sub(1)?)?;
                let index = page.checked_sub(*first).filter(|index| index < pages)?;
                offset.checked_add(index.checked_mul(PAGE_BYTES)?)
            }
            Self::Bitmap { words, counts, first_page } => {
                let at = usize::try_from(page / 64).ok()?;
                let word = words.get(at)?;
                let bit = 1_u64 << (page % 64);
                if word & bit == 0 {
                    return None;
                }
                let group = at / WORDS_PER_COUNT;
                let from = group.checked_mul(WORDS_PER_COUNT)?;
                let mut index = *counts.get(group)?;
                for before in words.get(from..at)? {
                    index = index.checked_add(u64::from(before.count_ones()))?;
                }
                index = index.checked_add(u64::from((word & bit.wrapping_sub(1)).count_ones()))?;
                first_page.checked_add(index.checked_mul(PAGE_BYTES)?)
            }
        }
    }

    /// Where in the file pages lie: offset and size in bytes of each stretch.
    pub(crate) fn extents(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Runs(runs) => runs.iter().map(|(_, pages, at)| (*at, pages.saturating_mul(PAGE_BYTES))).collect(),
            Self::Bitmap { words, first_page, .. } => {
                let pages: u64 = words.iter().map(|word| u64::from(word.count_ones())).sum();
                vec![(*first_page, pages.saturating_mul(PAGE_BYTES))]
            }
        }
    }

    /// How many bytes the file must have to hold every page.
    pub(crate) fn end(&self) -> u64 {
        self.extents().iter().map(|(at, size)| at.saturating_add(*size)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_bitmap_follow_in_order_across_words() {
        let mut words = vec![0_u64; 200];
        words[0] = 0b1010;
        words[70] = 1 << 63;
        words[199] = 1;
        let counts = vec![0, 2, 3, 3];
        let pages = Pages::Bitmap { words, counts, first_page: 0x4000 };
        assert_eq!(pages.offset_of(1), Some(0x4000));
        assert_eq!(pages.offset_of(2), None);
        assert_eq!(pages.offset_of(3), Some(0x5000));
        assert_eq!(pages.offset_of(70 * 64 + 63), Some(0x6000));
        assert_eq!(pages.offset_of(199 * 64), Some(0x7000));
        assert_eq!(pages.offset_of(200 * 64), None);
        assert_eq!(pages.offset_of(u64::MAX), None);
        assert_eq!(pages.end(), 0x8000);
    }

    #[test]
    fn runs_that_claim_more_than_there_can_be_do_not_overflow() {
        let pages = Pages::of_runs([(5, 2), (u64::MAX, u64::MAX), (1, 1)].into_iter(), 0x2000);
        assert_eq!(pages.offset_of(6), Some(0x3000));
        assert_eq!(pages.offset_of(7), None);
        assert_eq!(pages.offset_of(u64::MAX), Some(0x4000));
        assert_eq!(pages.offset_of(1), Some(u64::MAX));
    }
}
