//! Batches as they travel: protobuf in a zstd frame. The reader stops at a limit that it counts itself; what the frame says of its size
//! is not believed.

use std::io::Read as _;

use prost::Message as _;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{compress_to_vec, CompressionLevel};

use super::Batch;
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPEN_BYTES_MAX};
use crate::protocol::Refused;

/// A frame may ask for a window no larger than what is read of it.
const WINDOW_BYTES_MAX: u64 = BATCH_OPEN_BYTES_MAX as u64;

/// A batch as it travels.
///
/// # Errors
/// It is out of bounds or too large: the agent makes a smaller one.
pub fn pack(batch: &Batch) -> Result<Vec<u8>, Refused> {
    if let Some(why) = batch.out_of_bounds() {
        return Err(Refused::form(why));
    }
    let open = batch.encode_to_vec();
    if open.len() > BATCH_OPEN_BYTES_MAX {
        return Err(Refused::TooLarge { size_bytes: open.len(), size_bytes_max: BATCH_OPEN_BYTES_MAX });
    }
    let packed = compress_to_vec(open.as_slice(), CompressionLevel::Fastest);
    if packed.len() > BATCH_BYTES_MAX {
        return Err(Refused::TooLarge { size_bytes: packed.len(), size_bytes_max: BATCH_BYTES_MAX });
    }
    Ok(packed)
}

/// The batch that came.
///
/// # Errors
/// Too large before or after decompression, no zstd, or no batch of this protocol.
pub fn unpack(protocol: u32, bytes: &[u8]) -> Result<Batch, Refused> {
    if bytes.len() > BATCH_BYTES_MAX {
        return Err(Refused::TooLarge { size_bytes: bytes.len(), size_bytes_max: BATCH_BYTES_MAX });
    }
    let no_zstd = |error: &dyn std::fmt::Display| Refused::form(format!("no zstd: {error}"));
    let mut rest = bytes;
    let decoder =
        StreamingDecoder::new_with_max_window_size(&mut rest, WINDOW_BYTES_MAX).map_err(|error| no_zstd(&error))?;
    let mut open = Vec::new();
    decoder.take(BATCH_OPEN_BYTES_MAX as u64 + 1).read_to_end(&mut open).map_err(|error| no_zstd(&error))?;
    if open.len() > BATCH_OPEN_BYTES_MAX {
        return Err(Refused::TooLarge { size_bytes: open.len(), size_bytes_max: BATCH_OPEN_BYTES_MAX });
    }
    if !rest.is_empty() {
        return Err(Refused::form(format!("{} bytes after the frame", rest.len())));
    }
    Batch::read(protocol, &open)
}
