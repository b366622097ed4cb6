//! What no digit looks like.

use super::normalise::Image;
use crate::model::SIZE;

/// A line across a digit meets at most so many strokes, and one down it.
const MOST_ACROSS: usize = 3;
const MOST_DOWN: usize = 4;
/// Fewer lines with more strokes are a wavering pen.
const LINES: usize = 3;

/// Whether an image has more strokes than a digit: a letter like M, a scribble, a grid.
pub fn is_crowded(image: &Image) -> bool {
    let dark = |x: usize, y: usize| image[y * SIZE + x] > 127;
    let begins = |now: bool, before: bool| usize::from(now && !before);
    let across = |y: usize| (1..SIZE).map(|x| begins(dark(x, y), dark(x - 1, y))).sum::<usize>();
    let down = |x: usize| (1..SIZE).map(|y| begins(dark(x, y), dark(x, y - 1))).sum::<usize>();
    (0..SIZE).filter(|&y| across(y) > MOST_ACROSS).count() >= LINES
        || (0..SIZE).filter(|&x| down(x) > MOST_DOWN).count() >= LINES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_crowded_from_the_fourth_on() {
        let bars = |count: usize| -> Image {
            std::array::from_fn(|i| if i % SIZE % 6 == 2 && i % SIZE < 6 * count { 255 } else { 0 })
        };
        assert_eq!([2, 3, 4].map(|count| is_crowded(&bars(count))), [false, false, true]);
        let turned: Image = std::array::from_fn(|i| bars(5)[i % SIZE * SIZE + i / SIZE]);
        assert!(is_crowded(&turned));
    }
}
