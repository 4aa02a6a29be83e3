//! The picture as PNG, for places that show no SVG. Its letters come with the program: a server may have no font.

use std::convert::Infallible;

use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::ascii::FONT_6X13;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::pixelcolor::raw::RawU24;
use embedded_graphics::pixelcolor::{IntoStorage as _, Rgb888};
use embedded_graphics::primitives::{Primitive as _, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Alignment, Text};
use embedded_graphics::{Drawable as _, Pixel};

use super::{Picture, Shape, BLACK, WHITE};

/// Bytes of a pixel.
const PIXEL_BYTES: usize = 3;

/// The pixels, row by row.
struct Canvas {
    size: (u32, u32),
    pixels: Vec<u8>,
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.size.0, self.size.1)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let width = self.size.0 as usize;
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else { continue };
            let at = (y * width + x) * PIXEL_BYTES;
            let pixel = self.pixels.get_mut(at..at + PIXEL_BYTES).filter(|_| x < width);
            if let (Some(pixel), [_, colour @ ..]) = (pixel, colour.into_storage().to_be_bytes()) {
                pixel.copy_from_slice(&colour);
            }
        }
        Ok(())
    }
}

/// # Errors
/// When the picture can't be encoded, which memory alone could cause.
pub(super) fn png(of: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = of.size;
    let mut canvas = Canvas { size: of.size, pixels: vec![0; (width * height) as usize * PIXEL_BYTES] };
    let Ok(()) = canvas.clear(colour(WHITE));
    for shape in &of.shapes {
        let Ok(()) = draw(shape, &mut canvas);
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&canvas.pixels)?;
    Ok(file)
}

fn draw(shape: &Shape, canvas: &mut Canvas) -> Result<(), Infallible> {
    match shape {
        Shape::Box { left, top, width, height, colour: of, .. } => {
            let area = Rectangle::new(point(*left, *top), Size::new(*width, *height));
            area.into_styled(PrimitiveStyle::with_fill(colour(*of))).draw(canvas)
        }
        Shape::Words { x, baseline, is_at_end, words } => {
            let alignment = if *is_at_end { Alignment::Right } else { Alignment::Left };
            let style = MonoTextStyle::new(&FONT_6X13, colour(BLACK));
            Text::with_alignment(words, point(*x, *baseline), style, alignment).draw(canvas).map(drop)
        }
    }
}

fn colour(value: u32) -> Rgb888 {
    RawU24::new(value).into()
}

fn point(x: u32, y: u32) -> Point {
    Point::new(i32::try_from(x).unwrap_or(i32::MAX), i32::try_from(y).unwrap_or(i32::MAX))
}
