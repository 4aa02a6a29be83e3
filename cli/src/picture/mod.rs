//! Pictures of charts, as SVG and as PNG from the same shapes: for a page that shows the one or the other.

mod png;
mod svg;

use std::path::Path;

use anyhow::Context as _;

/// Size of a picture in pixels.
pub(crate) const WIDTH: u32 = 900;
pub(crate) const HEIGHT: u32 = 320;

/// Colours as `0xRRGGBB`.
pub(crate) const WHITE: u32 = 0x00ff_ffff;
pub(crate) const BLACK: u32 = 0;
pub(crate) const GREY: u32 = 0x00dd_dddd;
pub(crate) const LIGHT: u32 = 0x00c9_a227;
pub(crate) const DARK: u32 = 0x008c_2f1b;

/// A piece of the picture; pixels from the left and the top.
pub(crate) enum Shape {
    Box { left: u32, top: u32, width: u32, height: u32, colour: u32, says: String },
    Words { x: u32, baseline: u32, is_at_end: bool, words: String },
}

impl Shape {
    pub(crate) fn words(x: u32, baseline: u32, is_at_end: bool, words: String) -> Self {
        Self::Words { x, baseline, is_at_end, words }
    }
}

/// A picture as it is painted, the first shape first.
pub(crate) struct Picture {
    pub(crate) title: &'static str,
    pub(crate) shapes: Vec<Shape>,
}

impl Picture {
    /// The picture as SVG: a bar says its numbers when it is pointed at.
    pub(crate) fn svg(&self) -> String {
        svg::svg(self)
    }

    /// The picture as PNG, for places that show no SVG.
    ///
    /// # Errors
    /// When it can't be encoded, which memory alone could cause.
    pub(crate) fn png(&self) -> anyhow::Result<Vec<u8>> {
        Ok(png::png(&self.shapes)?)
    }

    /// Writes the files that were asked for.
    ///
    /// # Errors
    /// A file can't be written.
    pub(crate) fn write(&self, svg: Option<&Path>, png: Option<&Path>) -> anyhow::Result<()> {
        let write = |file: &Path, bytes: Vec<u8>| {
            std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
        };
        if let Some(file) = svg {
            write(file, self.svg().into_bytes())?;
        }
        if let Some(file) = png {
            write(file, self.png()?)?;
        }
        Ok(())
    }
}
