//! makedumpfile's flattened form: a core written to a pipe, as pieces that each say where in the file they belong. Later pieces
//! overwrite earlier ones, as they would have in the file.

use std::collections::BTreeMap;
use std::io;

use crate::machine::bytes::array_at;
use crate::source::Source;
use crate::Error;

/// Bytes before the first piece.
const HEADER_BYTES: u64 = 4096;
/// Bytes before each piece: its place and its size, the upper byte first.
const PIECE_BYTES: u64 = 16;
/// Pieces, at most: a core of 1 TB in the pieces that makedumpfile makes.
const PIECES_MAX: usize = 1 << 22;

/// A piece of the file: where it ends, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    end: u64,
    at: u64,
}

/// The file as it would have been, put together while it is read.
pub(super) struct Flattened<'a> {
    source: &'a dyn Source,
    pieces: BTreeMap<u64, Piece>,
    end: u64,
}

impl<'a> Flattened<'a> {
    pub(super) fn open(source: &'a dyn Source) -> Result<Self, Error> {
        let mut found = Self { source, pieces: BTreeMap::new(), end: 0 };
        let mut at = HEADER_BYTES;
        for _ in 0..PIECES_MAX {
            let head = source.bytes(at, usize::try_from(PIECE_BYTES).unwrap_or(0))?;
            let (Some(offset), Some(size)) =
                (array_at(&head, 0).map(i64::from_be_bytes), array_at(&head, 8).map(i64::from_be_bytes))
            else {
                // The file is cut; what is there counts.
                break;
            };
            // The last piece is -1, -1.
            let (Ok(offset), Ok(size)) = (u64::try_from(offset), u64::try_from(size)) else { break };
            let content = at.saturating_add(PIECE_BYTES);
            let (Some(end), Some(next)) = (offset.checked_add(size), content.checked_add(size)) else { break };
            if size > 0 {
                found.lay(offset, Piece { end, at: content });
            }
            at = next;
        }
        Ok(found)
    }

    /// Lays a piece over what is there.
    fn lay(&mut self, start: u64, piece: Piece) {
        self.end = self.end.max(piece.end);
        // What began before and reaches into it keeps its front, and its rest behind the new piece.
        if let Some((before, old)) = self.pieces.range(..start).next_back().map(|(before, old)| (*before, *old)) {
            if old.end > start {
                self.pieces.insert(before, Piece { end: start, at: old.at });
                if old.end > piece.end {
                    let rest = old.at.saturating_add(piece.end.saturating_sub(before));
                    self.pieces.insert(piece.end, Piece { end: old.end, at: rest });
                }
            }
        }
        while let Some((covered, old)) = self.pieces.range(start..piece.end).next().map(|(start, old)| (*start, *old)) {
            self.pieces.remove(&covered);
            if old.end > piece.end {
                let rest = old.at.saturating_add(piece.end.saturating_sub(covered));
                self.pieces.insert(piece.end, Piece { end: old.end, at: rest });
            }
        }
        self.pieces.insert(start, piece);
    }
}

impl Source for Flattened<'_> {
    fn size_bytes(&self) -> u64 {
        self.end
    }

    /// Places that no piece was written to read as zero, as holes of a file do.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..wanted).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            let piece = self.pieces.range(..=at).next_back().filter(|(_, piece)| piece.end > at);
            let next = match piece {
                Some((_, piece)) => piece.end,
                None => self.pieces.range(at..).next().map_or(self.end, |(start, _)| *start),
            };
            let size = usize::try_from(next.saturating_sub(at)).unwrap_or(usize::MAX).min(rest.len());
            let Some(part) = rest.get_mut(..size) else { break };
            let read = match piece {
                Some((start, piece)) => {
                    self.source.read_at(piece.at.saturating_add(at.saturating_sub(*start)), part)?
                }
                None => {
                    part.fill(0);
                    size
                }
            };
            filled = filled.saturating_add(read);
            if read < size {
                break;
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pieces: &[(i64, &[u8])]) -> Vec<u8> {
        let mut file = b"makedumpfile\0\0\0\0".to_vec();
        file.resize(4096, 0);
        for (offset, content) in pieces {
            file.extend(offset.to_be_bytes());
            file.extend(i64::try_from(content.len()).expect("small").to_be_bytes());
            file.extend(*content);
        }
        file.extend([0xff; 16]);
        file
    }

    #[test]
    fn later_pieces_lie_over_earlier_ones_and_holes_are_zero() {
        let file = file(&[(2, b"abcdefgh"), (4, b"XY"), (12, b"z"), (0, b"123"), (9, b"!!!!!"), (5, b"")]);
        let flattened = Flattened::open(&file).expect("memory");
        assert_eq!(flattened.bytes(0, 100).expect("memory"), b"123bXYefg!!!!!");
        assert_eq!(flattened.bytes(5, 3).expect("memory"), b"Yef");
        let sparse = self::file(&[(3, b"a"), (6, b"b")]);
        assert_eq!(Flattened::open(&sparse).expect("memory").bytes(0, 9).expect("memory"), b"\0\0\0a\0\0b");
    }

    #[test]
    fn a_file_that_is_cut_or_lies_about_sizes_gives_what_is_there() {
        let mut cut = file(&[(0, b"abc")]);
        cut.truncate(4096 + 16 + 2);
        assert_eq!(Flattened::open(&cut).expect("memory").bytes(0, 9).expect("memory"), b"ab");
        let mut forged = file(&[(i64::MAX, b"abc"), (0, b"x")]);
        forged[4096 + 8..4096 + 16].copy_from_slice(&i64::MAX.to_be_bytes());
        assert_eq!(Flattened::open(&forged).expect("memory").bytes(0, 4).expect("memory"), [0; 4]);
    }
}
