//! Damaged variants of valid files, the same in every run, for the tests of every file reader.

use crate::SplitMix;

/// Calls `check` with `count` variants of `valid`: flipped bits, overwritten, removed, repeated and
/// added bytes, cuts, and files of nothing but random bytes.
///
/// ```
/// let mut damaged = 0;
/// tapeflow_testing::mutation::for_each(b"a valid file", 100, |bytes| {
///     damaged += u32::from(bytes != b"a valid file");
/// });
/// assert!(damaged > 90);
/// ```
pub fn for_each(valid: &[u8], count: usize, mut check: impl FnMut(&[u8])) {
    let mut random = SplitMix::new(valid.len() as u64);
    for _ in 0..count {
        let mut bytes = valid.to_vec();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, &mut random);
        }
        check(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut SplitMix) {
    if bytes.is_empty() {
        bytes.push(random.bits() as u8);
    }
    // Headers come first and are worth most of the damage.
    let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(160) };
    let at = random.below(reach);
    match random.below(8) {
        0 => bytes.truncate(at),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'9', b'-'][random.below(8)],
        2 => bytes[at] = random.bits() as u8,
        3 => drop(bytes.remove(at)),
        4 => bytes.insert(at, random.bits() as u8),
        5 => {
            let end = (at + random.below(32)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        6 if random.below(16) == 0 => bytes.as_mut_slice().fill_with(|| random.bits() as u8),
        _ => bytes[at] ^= 1 << random.below(8),
    }
}
