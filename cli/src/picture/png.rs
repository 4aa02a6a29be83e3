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

use super::{Shape, BLACK, HEIGHT, WHITE, WIDTH};

/// Bytes of a pixel.
const PIXEL_BYTES: usize = 3;

/// The pixels, row by row.
struct Canvas(Vec<u8>);

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(WIDTH, HEIGHT)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else { continue };
            let at = (y * WIDTH as usize + x) * PIXEL_BYTES;
            let pixel = self.0.get_mut(at..at + PIXEL_BYTES).filter(|_| x < WIDTH as usize);
            if let (Some(pixel), [_, colour @ ..]) = (pixel, colour.into_storage().to_be_bytes()) {
                pixel.copy_from_slice(&colour);
            }
        }
        Ok(())
    }
}

/// # Errors
/// When the picture can't be encoded, which memory alone could cause.
pub(super) fn png(shapes: &[Shape]) -> Result<Vec<u8>, png::EncodingError> {
    let mut canvas = Canvas(vec![0; (WIDTH * HEIGHT) as usize * PIXEL_BYTES]);
    let Ok(()) = canvas.clear(colour(WHITE));
    for shape in shapes {
        let Ok(()) = draw(shape, &mut canvas);
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&canvas.0)?;
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
