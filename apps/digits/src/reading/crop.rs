//! The ink of one digit, cut out of a picture.

/// Ink from 0 to 1, row by row, around one digit.
#[derive(Clone)]
pub struct Crop {
    pub width: usize,
    pub height: usize,
    pub ink: Vec<f32>,
}

/// Edges in pixels and parts of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Crop {
    /// The tight box of the ink; none if there is no ink.
    ///
    /// An edge lies where the ink passes half its depth, between the centres of two pixels: the same
    /// place whether the stroke is cut off sharply or blurred.
    pub fn bounds(&self) -> Option<Bounds> {
        let mut columns = vec![0.0f32; self.width];
        let mut rows = Vec::with_capacity(self.height);
        for row in self.ink.chunks_exact(self.width) {
            columns.iter_mut().zip(row).for_each(|(most, &ink)| *most = most.max(ink));
            rows.push(row.iter().copied().fold(0.0, f32::max));
        }
        let most = rows.iter().copied().fold(0.0, f32::max);
        if most <= 0.0 {
            return None;
        }
        let half = most / 2.0;
        let end = |profile: &mut dyn Iterator<Item = f32>| {
            let mut before = 0.0;
            let mut passed = 0.0;
            for ink in profile {
                if ink >= half {
                    return passed - 0.5 + (half - before) / (ink - before).max(1e-6);
                }
                before = ink;
                passed += 1.0;
            }
            passed
        };
        let (width, height) = (self.width as f32, self.height as f32);
        Some(Bounds {
            left: end(&mut columns.iter().copied()).max(0.0),
            top: end(&mut rows.iter().copied()).max(0.0),
            right: width - end(&mut columns.iter().rev().copied()).max(0.0),
            bottom: height - end(&mut rows.iter().rev().copied()).max(0.0),
        })
    }

    /// The ink with each block of `factor` x `factor` pixels made one: the most of it, so that hairlines
    /// stay, or its mean.
    pub fn reduced(&self, factor: usize, hairlines: bool) -> Crop {
        let (width, height) = (self.width.div_ceil(factor), self.height.div_ceil(factor));
        let share = 1.0 / (factor * factor) as f32;
        let mut ink = vec![0.0f32; width * height];
        for (y, row) in self.ink.chunks_exact(self.width).enumerate() {
            let blocks = &mut ink[y / factor * width..][..width];
            for (block, pixels) in blocks.iter_mut().zip(row.chunks(factor)) {
                *block = if hairlines {
                    pixels.iter().copied().fold(*block, f32::max)
                } else {
                    *block + share * pixels.iter().sum::<f32>()
                };
            }
        }
        Crop { width, height, ink }
    }

    /// The mean width of the strokes, in pixels: twice their area over the length of their edges.
    pub fn stroke_width(&self) -> f32 {
        let area: f32 = self.ink.iter().sum();
        let mut edge = 0.0;
        for (y, row) in self.ink.chunks_exact(self.width).enumerate() {
            for (x, &ink) in row.iter().enumerate() {
                let left = if x > 0 { row[x - 1] } else { 0.0 };
                let above = if y > 0 { self.ink[(y - 1) * self.width + x] } else { 0.0 };
                let slope = (ink - left).hypot(ink - above);
                edge += slope;
            }
        }
        2.0 * area / f32::max(edge, 1e-6)
    }

    /// The ink with each stroke wider by `radius` on either side.
    pub fn thickened(&self, radius: f32) -> Crop {
        let reach = radius.ceil() as usize;
        let (width, height) = (self.width + 2 * reach, self.height + 2 * reach);
        let mut ink = vec![0.0f32; width * height];
        for dy in 0..=2 * reach {
            for dx in 0..=2 * reach {
                let (across, down) = (dx as f32 - reach as f32, dy as f32 - reach as f32);
                // The rim of the pen's disk covers its pixels in part.
                let cover = (radius + 1.0 - across.hypot(down)).clamp(0.0, 1.0);
                if cover == 0.0 {
                    continue;
                }
                for (y, row) in self.ink.chunks_exact(self.width).enumerate() {
                    let from = (y + dy) * width + dx;
                    for (wide, &ink) in ink[from..from + self.width].iter_mut().zip(row) {
                        *wide = wide.max(ink * cover);
                    }
                }
            }
        }
        Crop { width, height, ink }
    }
}
