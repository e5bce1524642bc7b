//! Login codes: from the link in them or out of a picture, for a terminal and for a file. Pure; nothing is printed.
//!
//! Pictures come from the client and are not trusted: their size is bounded before they are unpacked.

use qrcode::{Color, EcLevel, QrCode};

/// The largest picture that is looked at, pixels a side: the client's have a few hundred.
const SIDE_MAX: u32 = 4096;
/// The largest picture that is looked at, bytes before it is unpacked.
const PICTURE_BYTES_MAX: usize = 16 << 20;
/// Light modules around a code on a terminal; the standard wants four, readers are content with two.
const QUIET: usize = 2;
/// Light modules around a code in a file.
const QUIET_PNG: usize = 4;
/// Pixels of a module in a file.
const MODULE_PIXELS: usize = 8;

/// The dark modules of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    side: usize,
    dark: Vec<bool>,
}

impl Code {
    /// The code that says `text`; `None` when it is too long for one.
    pub(super) fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).ok()?;
        let dark = code.to_colors().into_iter().map(|color| color == Color::Dark).collect();
        Some(Self { side: code.width(), dark })
    }

    fn is_dark(&self, x: usize, y: usize, quiet: usize) -> bool {
        let inside = |n: usize| n.checked_sub(quiet).filter(|n| *n < self.side);
        inside(x).zip(inside(y)).is_some_and(|(x, y)| self.dark[y * self.side + x])
    }

    /// Columns that it takes on a terminal.
    pub(super) fn columns(&self) -> usize {
        self.side + 2 * QUIET
    }

    /// Lines of half blocks: two modules in a character. `inverted` draws the light modules, for light text on a dark
    /// ground.
    pub(super) fn lines(&self, inverted: bool) -> Vec<String> {
        let side = self.columns();
        let drawn = |x, y| (y < side && self.is_dark(x, y, QUIET)) != inverted;
        let character = |x, y| match (drawn(x, y), drawn(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..side).step_by(2).map(|y| (0..side).map(|x| character(x, y)).collect()).collect()
    }

    /// The code as a PNG picture.
    ///
    /// # Errors
    /// When it cannot be encoded, which only a bug would cause.
    pub(super) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let modules = self.side + 2 * QUIET_PNG;
        let side = modules * MODULE_PIXELS;
        let light = |x: usize, y: usize| !self.is_dark(x / MODULE_PIXELS, y / MODULE_PIXELS, QUIET_PNG);
        let pixels: Vec<u8> =
            (0..side).flat_map(|y| (0..side).map(move |x| if light(x, y) { 255 } else { 0 })).collect();
        let mut out = Vec::new();
        // The largest code has 177 modules.
        let side = u32::try_from(side).unwrap_or(u32::MAX);
        let mut encoder = png::Encoder::new(&mut out, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        writer.finish()?;
        Ok(out)
    }
}

/// The text of the code in a PNG picture; `None` when there is none that can be read.
pub(super) fn read_png(picture: &[u8]) -> Option<String> {
    if picture.len() > PICTURE_BYTES_MAX {
        return None;
    }
    let mut decoder = png::Decoder::new(std::io::Cursor::new(picture));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let header = decoder.read_header_info().ok()?;
    if header.width.max(header.height) > SIDE_MAX {
        return None;
    }
    let mut reader = decoder.read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut pixels).ok()?;
    let (width, height) = (info.width as usize, info.height as usize);
    let samples = info.color_type.samples();
    let grey = |x: usize, y: usize| -> u8 {
        let Some(pixel) = pixels.get(y * info.line_size + x * samples..).and_then(|p| p.get(..samples)) else {
            return 255;
        };
        let (colours, alpha) = match samples {
            2 | 4 => (&pixel[..samples - 1], pixel[samples - 1]),
            _ => (pixel, 255),
        };
        // What shows through is white.
        let sum: usize = colours.iter().map(|c| usize::from(*c)).sum();
        let lit = sum / colours.len() * usize::from(alpha) / 255 + 255 - usize::from(alpha);
        u8::try_from(lit).unwrap_or(255)
    };
    // A code that reaches the picture's edge is not found, so there is a frame around it.
    const FRAME: usize = 16;
    let inside = |n: usize, most: usize| n.checked_sub(FRAME).filter(|n| *n < most);
    let framed = |x, y| inside(x, width).zip(inside(y, height)).map_or(255, |(x, y)| grey(x, y));
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width + 2 * FRAME, height + 2 * FRAME, framed);
    image.detect_grids().iter().find_map(|grid| grid.decode().ok()).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "http://weixin.qq.com/x/AbCdEf0123456789";

    #[test]
    fn a_picture_of_a_code_is_read_back() {
        let code = Code::of(LINK).unwrap();
        assert_eq!(read_png(&code.png().unwrap()).as_deref(), Some(LINK));
    }

    #[test]
    fn a_drawn_code_is_as_wide_as_it_says_and_has_a_light_frame() {
        let code = Code::of(LINK).unwrap();
        let lines = code.lines(false);
        assert!(lines.iter().all(|line| line.chars().count() == code.columns()), "{lines:#?}");
        assert_eq!(lines.len(), code.columns().div_ceil(2));
        assert!(lines[0].chars().all(|c| c == ' ') && lines.iter().all(|line| line.starts_with("  ")));
        assert!(code.lines(true)[0].chars().all(|c| c == '█'));
    }

    #[test]
    fn a_picture_without_a_frame_and_in_colour_is_read_too() {
        let code = Code::of(LINK).unwrap();
        let side = code.side * 3;
        let pixel = |x: usize, y: usize| if code.is_dark(x / 3, y / 3, 0) { [20, 0, 60, 255] } else { [0, 0, 0, 0] };
        let pixels: Vec<u8> = (0..side).flat_map(|y| (0..side).flat_map(move |x| pixel(x, y))).collect();
        let mut out = Vec::new();
        let side = u32::try_from(side).unwrap();
        let mut encoder = png::Encoder::new(&mut out, side, side);
        encoder.set_color(png::ColorType::Rgba);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&pixels).unwrap();
        writer.finish().unwrap();
        assert_eq!(read_png(&out).as_deref(), Some(LINK));
    }

    #[test]
    fn what_is_no_picture_or_too_large_or_no_code_gives_nothing() {
        assert_eq!(read_png(b""), None);
        assert_eq!(read_png(b"\x89PNG\r\n\x1a\nrubbish"), None);
        // A header that claims a picture of 4 GiB.
        let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        huge.extend([0, 1, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0]);
        huge.extend(crc32fast::hash(&huge[12..]).to_be_bytes());
        assert_eq!(read_png(&huge), None);
        assert_eq!(Code::of(&"x".repeat(5000)), None);
    }
}
