//! Pictures of charts, as SVG and as PNG from the same shapes: for a page that shows the one or the other.

mod png;
mod svg;

use std::path::Path;

use anyhow::Context as _;

/// Size of a chart in pixels.
pub const WIDTH: u32 = 900;
/// The same.
pub const HEIGHT: u32 = 320;

/// Colours as `0xRRGGBB`.
pub const WHITE: u32 = 0x00ff_ffff;
/// For words.
pub const BLACK: u32 = 0;
/// For lines to read by.
pub const GREY: u32 = 0x00dd_dddd;
/// For what is counted.
pub const LIGHT: u32 = 0x00c9_a227;
/// For what of it is to be seen first.
pub const DARK: u32 = 0x008c_2f1b;

/// A piece of the picture; pixels from the left and the top.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A filled area.
    Box {
        /// From the left.
        left: u32,
        /// From the top.
        top: u32,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// `0xRRGGBB`.
        colour: u32,
        /// Shown in an SVG when it is pointed at.
        says: String,
    },
    /// One line of text.
    Words {
        /// Where it begins, or ends.
        x: u32,
        /// Where its letters stand.
        baseline: u32,
        /// It ends at `x`.
        is_at_end: bool,
        /// The text.
        words: String,
    },
}

impl Shape {
    /// A line of text.
    #[must_use]
    pub fn words(x: u32, baseline: u32, is_at_end: bool, words: String) -> Self {
        Self::Words { x, baseline, is_at_end, words }
    }
}

/// A picture as it is painted, the first shape first.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it is.
    pub title: &'static str,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Its pieces.
    pub shapes: Vec<Shape>,
}

impl Picture {
    /// The picture as SVG: a bar says its numbers when it is pointed at.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::svg(self)
    }

    /// The picture as PNG, for places that show no SVG.
    ///
    /// # Errors
    /// When it can't be encoded, which memory alone could cause.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        Ok(png::png(self)?)
    }

    /// Writes the files that were asked for.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write(&self, svg: Option<&Path>, png: Option<&Path>) -> anyhow::Result<()> {
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
