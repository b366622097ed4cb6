//! What the network saw, in characters.

use crate::model::SIZE;
use crate::reading::Digit;

/// Images that fit beside each other on a terminal of 120 columns.
const PER_ROW: usize = 4;

/// The images of some digits, each 28 characters wide and 14 high.
pub fn side_by_side(digits: &[Digit]) -> String {
    let blocks: Vec<String> = digits
        .chunks(PER_ROW)
        .map(|row| {
            let line = |y: usize| {
                let parts = row.iter().map(|digit| text_row(&digit.image, y));
                format!("│{}│", parts.collect::<Vec<_>>().join("│"))
            };
            let edge = |ends: [&str; 3]| {
                let parts = vec!["─".repeat(SIZE); row.len()];
                format!("{}{}{}", ends[0], parts.join(ends[1]), ends[2])
            };
            let mut lines = vec![edge(["┌", "┬", "┐"])];
            lines.extend((0..SIZE / 2).map(line));
            lines.push(edge(["└", "┴", "┘"]));
            lines.join("\n")
        })
        .collect();
    blocks.join("\n")
}

/// Two rows of pixels as one of characters, which are about twice as high as wide.
fn text_row(image: &[u8], y: usize) -> String {
    let (upper, lower) = (&image[2 * y * SIZE..][..SIZE], &image[(2 * y + 1) * SIZE..][..SIZE]);
    upper.iter().zip(lower).map(|(&upper, &lower)| character(upper, lower)).collect()
}

fn character(upper: u8, lower: u8) -> char {
    if upper.abs_diff(lower) > 127 {
        return if upper > lower { '▀' } else { '▄' };
    }
    let mean = (usize::from(upper) + usize::from(lower)) / 2;
    [' ', '░', '▒', '▓', '█'][(mean + 32) / 64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_and_halves() {
        assert_eq!(
            [(0, 0), (64, 64), (128, 120), (190, 200), (255, 255)].map(|(u, l)| character(u, l)),
            [' ', '░', '▒', '▓', '█']
        );
        assert_eq!((character(255, 0), character(10, 200)), ('▀', '▄'));
    }
}
