//! CRC-32C, Castagnoli's, bit-reversed: the checksum of TFRecord, iSCSI and ext4.

/// The polynomial, its highest power first from the lowest bit on.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Eight bytes at a time ("slicing by 8", Kounavis and Berry, 2005): `TABLES[n][byte]` is what
/// `byte` adds to the checksum where `n` bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut i = 256;
    while i < 8 * 256 {
        let crc = tables[i / 256 - 1][i % 256];
        tables[i / 256][i % 256] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
        i += 1;
    }
    tables
}

/// The checksum of `bytes`.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let crc = chunks.iter().fold(!0, |crc, chunk| {
        let word = u64::from_le_bytes(*chunk) ^ u64::from(crc);
        let added = |n: usize| TABLES[7 - n][(word >> (8 * n)) as usize & 0xff];
        (0..8).fold(0, |crc, n| crc ^ added(n))
    });
    let step =
        |crc: u32, byte: &u8| (crc >> 8) ^ TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
    !rest.iter().fold(crc, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the polynomial is defined.
    fn naive(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 }
            })
        })
    }

    #[test]
    fn the_vectors_of_rfc_3720() {
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(checksum(&std::array::from_fn::<u8, 32, _>(|i| i as u8)), 0x46dd_794e);
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..300u32).map(|i| (i * i * 31 + 7) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(checksum(&bytes[..length]), naive(&bytes[..length]), "{length}");
        }
    }
}
