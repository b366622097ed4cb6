//! The model of an image, shared by the decoder and by `examples/embed.rs`, which encodes.
//!
//! Images are one stream of pixels, 28 to a row, cut into parts that are coded independently.
//! A part alternates between *runs* (how many zero pixels come next) and *values* (pixels from the
//! first nonzero one up to and including the next zero). Each token is written with one of
//! [`TABLES`] prefix codes, chosen by what surrounds the pixel, so blank paper costs next to
//! nothing and a grey level is cheap where its neighbours announce it.

/// Pixels of one row.
pub const ROW: usize = 28;
/// Pixels of one image.
pub const IMAGE: usize = ROW * ROW;
/// Images of one part; the last part may hold fewer.
pub const PART_IMAGES: usize = 1000;
/// Symbols of every code: a grey level, or the length of a run.
pub const SYMBOLS: usize = 256;
/// A run of this length is followed by another run, all others by a value.
pub const LONG_RUN: usize = 255;
/// Bits of the longest code word.
pub const MAX_BITS: u32 = 10;
/// Zero pixels with which every part starts, and which are not coded: from here on, each pixel has
/// the neighbours above that choose its code.
pub const BLANK: usize = 32;

const LEVELS: [u8; 5] = [1, 64, 128, 192, 252];
const COARSE_LEVELS: [u8; 2] = [1, 192];
const VALUE_TABLES: usize = (LEVELS.len() + 1) * (LEVELS.len() + 1) * (COARSE_LEVELS.len() + 1);
const RUN_TABLES: usize = 2 * (ROW + 1);
/// Codes of a file.
pub const TABLES: usize = VALUE_TABLES + RUN_TABLES;

/// For each grey level, how many of `levels` it reaches, times `weight`.
const fn classes(levels: &[u8], weight: u8) -> [u8; 256] {
    let mut classes = [0; 256];
    let mut grey = 0;
    while grey < 256 {
        let mut i = 0;
        while i < levels.len() && grey >= levels[i] as usize {
            i += 1;
        }
        classes[grey] = i as u8 * weight;
        grey += 1;
    }
    classes
}

static LEFT: [u8; 256] = classes(&LEVELS, 1);
static ABOVE: [u8; 256] = classes(&LEVELS, LEVELS.len() as u8 + 1);
static ABOVE_RIGHT: [u8; 256] =
    classes(&COARSE_LEVELS, (LEVELS.len() as u8 + 1) * (LEVELS.len() as u8 + 1));

/// The code of a value, from the pixels on its left, above it and right of that.
#[inline]
pub fn value_table(left: u8, above: u8, above_right: u8) -> usize {
    let above = ABOVE[usize::from(above)] + ABOVE_RIGHT[usize::from(above_right)];
    usize::from(LEFT[usize::from(left)] + above)
}

/// The code of a run, from the pixels above the ones to come: bit k of `above` says that the pixel
/// a row above, k to the right, is not zero. What tells most is where the next stroke starts up
/// there, and whether the last one still goes on.
#[inline]
pub fn run_table(above: u32) -> usize {
    let stroke = above.trailing_ones().min(1);
    let start = (above >> above.trailing_ones()).trailing_zeros().min(ROW as u32);
    VALUE_TABLES + stroke as usize * (ROW + 1) + start as usize
}

/// The code words of the canonical prefix code with these lengths (0: no such symbol), first bit
/// lowest, or `None` if the lengths are longer than [`MAX_BITS`] or too many for a prefix code.
pub fn code_words(lengths: &[u8]) -> Option<Vec<u16>> {
    let mut words = vec![0; lengths.len()];
    let mut next = 0_u32;
    for bits in 1..=MAX_BITS {
        next <<= 1;
        for (word, _) in words.iter_mut().zip(lengths).filter(|&(_, &l)| u32::from(l) == bits) {
            *word = (next as u16).reverse_bits() >> (16 - bits);
            next += 1;
        }
        if next > 1 << bits {
            return None;
        }
    }
    lengths.iter().all(|&l| u32::from(l) <= MAX_BITS).then_some(words)
}
