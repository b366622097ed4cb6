//! From an embedded file to pixels. Layout of the file, as `examples/embed.rs` writes it:
//!
//! - the codes: for each table, a code length of four bits for each symbol, low half first;
//! - the number of parts, then the bytes of each part, as little-endian `u32`;
//! - the parts, each a whole number of bytes of code words, lowest bit first;
//! - [`PADDING`] zero bytes, so that the reader may always load eight.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::Error;
use crate::model::{
    BLANK, IMAGE, LONG_RUN, MAX_BITS, PART_IMAGES, ROW, SYMBOLS, TABLES, code_words, run_table,
    value_table,
};

const PADDING: usize = 8;
const TABLE_SIZE: usize = 1 << MAX_BITS;

/// What the next [`MAX_BITS`] bits start with: symbol in the high byte, code length in the low.
type Table = [u16; TABLE_SIZE];

/// Decodes all parts of `file` into `images` on up to `threads` threads.
pub fn images(file: &[u8], images: &mut [u8], threads: usize) -> Result<(), Error> {
    let (codes, rest) = split(file, TABLES * SYMBOLS / 2)?;
    let (count, rest) = split(rest, 4)?;
    let count = read_u32(count);
    let outputs: Vec<&mut [u8]> = images.chunks_mut(PART_IMAGES * IMAGE).collect();
    if count != outputs.len() {
        return Err(Error::corrupt("wrong number of parts"));
    }
    let (sizes, mut rest) = split(rest, 4 * count)?;
    let mut parts = Vec::with_capacity(count);
    for (size, output) in sizes.chunks_exact(4).map(read_u32).zip(outputs) {
        let tail = rest;
        rest = split(rest, size)?.1;
        parts.push((tail, size, output));
    }
    if rest.len() != PADDING {
        return Err(Error::corrupt("wrong size"));
    }

    let tables = tables(codes)?;
    let parts = Mutex::new(parts.into_iter());
    let work = || {
        loop {
            let part = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((code, size, output)) = part else { return Ok(()) };
            decode_part(&tables, code, size, output)?;
        }
    };
    thread::scope(|scope| {
        // A thread that cannot be started leaves its parts to the others.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads.min(count)).map_while(start).collect();
        let own = work();
        helpers.into_iter().fold(own, |result, helper| {
            let done = helper.join();
            result.and(done.unwrap_or_else(|_| Err(Error::corrupt("a decoding thread panicked"))))
        })
    })
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), Error> {
    bytes.split_at_checked(at).ok_or_else(|| Error::corrupt("file too short"))
}

fn read_u32(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

fn tables(codes: &[u8]) -> Result<Vec<Table>, Error> {
    codes.chunks_exact(SYMBOLS / 2).map(table).collect()
}

fn table(lengths: &[u8]) -> Result<Table, Error> {
    let lengths: Vec<u8> = lengths.iter().flat_map(|&pair| [pair & 15, pair >> 4]).collect();
    let words = code_words(&lengths).ok_or_else(|| Error::corrupt("not a prefix code"))?;
    let mut table = [0; TABLE_SIZE];
    for (symbol, (&word, &length)) in words.iter().zip(&lengths).enumerate() {
        if length > 0 {
            let entry = (symbol << 8) as u16 | u16::from(length);
            table[usize::from(word)..].iter_mut().step_by(1 << length).for_each(|e| *e = entry);
        }
    }
    Ok(table)
}

/// Decodes the part in the first `size` bytes of `code` into `output`.
fn decode_part(tables: &[Table], code: &[u8], size: usize, output: &mut [u8]) -> Result<(), Error> {
    let mut reader = Reader { code, position: 0, bits: 0, count: 0 };
    // Also where the memory is fresh and zero: reading it before it is written to would cost a
    // second page fault, and one that stops the other threads.
    output.fill(0);
    let mut at = BLANK;
    // Bit k: the pixel a row above `at`, k to the right, is not zero.
    let mut above = 0_u32;
    while at < output.len() {
        let run = reader.symbol(&tables[run_table(above)])?;
        at += run;
        above = above.checked_shr(run as u32).unwrap_or(0);
        if run == LONG_RUN {
            continue;
        }
        let mut left = 0;
        while at < output.len() {
            let table = value_table(left, output[at - ROW], output[at + 1 - ROW]);
            left = reader.symbol(&tables[table])? as u8;
            output[at] = left;
            at += 1;
            above = above >> 1 | u32::from(left != 0) << (ROW - 1);
            if left == 0 {
                break;
            }
        }
    }
    if at == output.len() && reader.bytes_used() == size {
        Ok(())
    } else {
        Err(Error::corrupt("part does not end where it should"))
    }
}

/// Takes code words from `code`, lowest bit first.
struct Reader<'a> {
    code: &'a [u8],
    position: usize,
    /// The next `count` bits, and above them bits that will be loaded again.
    bits: u64,
    count: u32,
}

impl Reader<'_> {
    #[inline]
    fn symbol(&mut self, table: &Table) -> Result<usize, Error> {
        if self.count < MAX_BITS {
            self.refill()?;
        }
        let entry = table[self.bits as usize % TABLE_SIZE];
        let length = u32::from(entry & 15);
        self.bits >>= length;
        self.count -= length;
        Ok(usize::from(entry >> 8))
    }

    #[inline]
    fn refill(&mut self) -> Result<(), Error> {
        let next = self.code.get(self.position..).and_then(|code| code.first_chunk());
        let next = next.ok_or_else(|| Error::corrupt("part too short"))?;
        self.bits |= u64::from_le_bytes(*next) << self.count;
        let bytes = (63 - self.count) / 8;
        self.position += bytes as usize;
        self.count += bytes * 8;
        Ok(())
    }

    /// Bytes that hold the bits taken so far.
    fn bytes_used(&self) -> usize {
        self.position - self.count as usize / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: usize = 10_000;
    static FILE: &[u8] = include_bytes!("../data/t10k-images.bin");

    fn decode(file: &[u8], images_expected: usize) -> Result<Vec<u8>, Error> {
        let mut pixels = vec![0; images_expected * IMAGE];
        images(file, &mut pixels, 2).map(|()| pixels)
    }

    #[test]
    fn damaged_bytes_give_an_error_or_other_pixels_but_no_panic() {
        let genuine = decode(FILE, IMAGES).unwrap();
        let header = TABLES * SYMBOLS / 2;
        let everywhere = (0..64).map(|i| i * FILE.len() / 64);
        let codes = (0..header).step_by(509);
        let part_sizes = header..header + 4 + 4 * IMAGES / PART_IMAGES;
        let mut errors = 0;
        for at in everywhere.chain(codes).chain(part_sizes) {
            let mut file = FILE.to_vec();
            file[at] ^= 0xff;
            match decode(&file, IMAGES) {
                Ok(pixels) => assert_eq!(pixels.len(), genuine.len()),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().contains("damaged"), "{error}");
                }
            }
        }
        assert!(errors > 100, "only {errors} of the damaged files were refused");
    }

    #[test]
    fn truncated_and_lengthened_files_are_refused() {
        for size in [0, 1, TABLES * SYMBOLS / 2, FILE.len() / 2, FILE.len() - 1] {
            assert!(decode(&FILE[..size], IMAGES).is_err(), "{size} bytes");
        }
        assert!(decode(&[FILE, &[0]].concat(), IMAGES).is_err());
    }

    #[test]
    fn wrong_number_of_images_is_refused() {
        for count in [0, 1, IMAGES - 1, IMAGES + 1, 60_000] {
            assert!(decode(FILE, count).is_err(), "{count} images");
        }
    }
}
