//! Test sheets: pages of digits drawn with many pens on many papers, the same in every run.

pub mod page;
pub mod random;
pub mod shapes;

use page::{Look, Page};
use random::Random;

/// A picture of a page and what is written on it, line by line.
pub struct Sheet {
    pub picture: image::GrayImage,
    pub lines: Vec<String>,
}

/// Writes `lines` lines of `per_line` digits in one hand, looking as `look` says.
pub fn sheet(seed: u64, lines: usize, per_line: usize, look: &Look) -> Sheet {
    let mut random = Random::new(seed);
    let tall = look.tall as f32;
    let (across, down) = (tall * 1.05, tall * 1.7);
    let margin = tall * 1.2;
    let width = (margin * 2.0 + across * per_line as f32) as usize;
    let height = (margin * 2.0 + down * (lines as f32 - 1.0) + tall) as usize;
    let mut page = Page::new(width, height);
    let hand = shapes::Hand::new(&mut random);
    let mut written = Vec::new();
    for line in 0..lines {
        let mut text = String::new();
        for place in 0..per_line {
            let digit = random.below(10);
            let size = tall * random.between(0.85, 1.1);
            let x = margin + across * (place as f32 + 0.45) + tall * random.between(-0.06, 0.06);
            let y = margin + down * line as f32 + tall * (0.5 + random.between(-0.06, 0.06));
            for stroke in hand.strokes(digit, &mut random) {
                let course: Vec<(f32, f32)> =
                    stroke.iter().map(|&(u, v)| (x + u * size, y + v * size)).collect();
                page.stroke(&course, look.pen * tall, look.unsteady, &mut random);
            }
            text.push(char::from(b'0' + digit as u8));
        }
        written.push(text);
    }
    Sheet { picture: page.photographed(look, &mut random), lines: written }
}
