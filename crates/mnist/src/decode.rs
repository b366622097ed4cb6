//! From the embedded parts to pixels.

use std::sync::{Mutex, PoisonError};
use std::thread;

use brotli_decompressor::{BrotliResult, brotli_decode};

use crate::Error;

/// Decodes `parts`, Brotli streams of equally many pixels each, into `pixels` on up to `threads`
/// threads.
pub fn images(parts: &[&[u8]], pixels: &mut [u8], threads: usize) -> Result<(), Error> {
    let outputs = pixels.chunks_exact_mut(pixels.len() / parts.len());
    let queue = Mutex::new(parts.iter().zip(outputs));
    let work = || {
        loop {
            let part = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((part, output)) = part else { return Ok(()) };
            decode_part(part, output)?;
        }
    };
    thread::scope(|scope| {
        // A thread that cannot be started leaves its parts to the others.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads.min(parts.len())).map_while(start).collect();
        let own = work();
        helpers.into_iter().fold(own, |result, helper| {
            let done = helper.join();
            result.and(done.unwrap_or_else(|_| Err(Error::corrupt("a decoding thread panicked"))))
        })
    })
}

/// Nothing in a Brotli stream tells that its bytes are the genuine ones: damage that leaves it valid
/// gives other pixels.
fn decode_part(part: &[u8], output: &mut [u8]) -> Result<(), Error> {
    let done = brotli_decode(part, output);
    match done.result {
        BrotliResult::ResultSuccess if done.decoded_size == output.len() => Ok(()),
        BrotliResult::ResultSuccess => Err(Error::corrupt("a part has too few pixels")),
        BrotliResult::NeedsMoreInput => Err(Error::corrupt("a part is cut short")),
        BrotliResult::NeedsMoreOutput => Err(Error::corrupt("a part has too many pixels")),
        BrotliResult::ResultFailure => Err(Error::corrupt("a part is not a Brotli stream")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{COLUMNS, ROWS, Split};

    /// Decodes the second half of the test images.
    fn decode(part: &[u8]) -> Result<Vec<u8>, Error> {
        let mut pixels = vec![0; Split::Test.len() / 2 * ROWS * COLUMNS];
        images(&[part], &mut pixels, 1).map(|()| pixels)
    }

    fn genuine() -> &'static [u8] {
        Split::Test.parts()[1]
    }

    #[test]
    fn damaged_bytes_give_an_error_or_other_pixels_but_no_panic() {
        let mut errors = 0;
        let everywhere = (0..64).map(|i| i * genuine().len() / 64);
        for at in (0..16).chain(everywhere) {
            let mut part = genuine().to_vec();
            part[at] ^= 0xff;
            match decode(&part) {
                Ok(pixels) => assert_eq!(pixels.len(), Split::Test.len() / 2 * ROWS * COLUMNS),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().contains("damaged"), "{error}");
                }
            }
        }
        assert!(errors > 40, "only {errors} of the damaged parts were refused");
    }

    #[test]
    fn truncated_parts_are_refused() {
        for size in [0, 1, genuine().len() / 2, genuine().len() - 1] {
            let error = decode(&genuine()[..size]).unwrap_err();
            assert!(error.to_string().contains("cut short"), "{size} bytes: {error}");
        }
    }

    #[test]
    fn wrong_number_of_images_is_refused() {
        for (count, reason) in [(4_999, "too many pixels"), (5_001, "too few pixels")] {
            let mut pixels = vec![0; count * ROWS * COLUMNS];
            let error = images(&[genuine()], &mut pixels, 1).unwrap_err();
            assert!(error.to_string().contains(reason), "{count} images: {error}");
        }
    }

    #[test]
    fn one_damaged_part_of_several_is_refused_on_any_number_of_threads() {
        let parts = Split::Test.parts();
        for threads in [1, 2, 3] {
            let mut pixels = vec![0; Split::Test.len() * ROWS * COLUMNS];
            assert!(images(&[parts[0], &parts[1][1..]], &mut pixels, threads).is_err());
            assert!(images(&[&parts[0][1..], parts[1]], &mut pixels, threads).is_err());
        }
    }
}
