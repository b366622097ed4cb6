//! Makes the files in `data/` from the four genuine IDX files, unpacked, in a directory:
//!
//! ```text
//! for f in *.gz; do gunzip -c $f > DIRECTORY/${f%.gz}; done
//! cargo run --release --example embed -- DIRECTORY crates/mnist/data
//! ```

#![forbid(unsafe_code)]

#[path = "../src/model.rs"]
mod model;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use model::{
    BLANK, IMAGE, LONG_RUN, MAX_BITS, PART_IMAGES, ROW, SYMBOLS, TABLES, code_words, run_table,
    value_table,
};

const IMAGE_HEADER: usize = 16;
const PADDING: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = &arguments[..] else {
        return Err("usage: embed DIRECTORY_OF_IDX_FILES OUTPUT_DIRECTORY".into());
    };
    for split in ["train", "t10k"] {
        let labels = format!("{split}-labels-idx1-ubyte");
        write(&to.join(&labels), &read(&from.join(&labels))?)?;
        let images = read(&from.join(format!("{split}-images-idx3-ubyte")))?;
        let pixels = images.get(IMAGE_HEADER..).ok_or("image file without a header")?;
        write(&to.join(format!("{split}-images.bin")), &encode(pixels)?)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    println!("{}: {} bytes", path.display(), bytes.len());
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The file that `src/decode.rs` reads.
fn encode(pixels: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let parts: Vec<Vec<Token>> =
        pixels.chunks(PART_IMAGES * IMAGE).map(tokens).collect::<Result<_, _>>()?;
    let mut counts = vec![[0; SYMBOLS]; TABLES];
    for token in parts.iter().flatten() {
        counts[token.table][token.symbol] += 1;
    }
    let lengths: Vec<[u8; SYMBOLS]> = counts.iter().map(code_lengths).collect();
    let words: Vec<Vec<u16>> = lengths
        .iter()
        .map(|lengths| code_words(lengths).ok_or("not a prefix code"))
        .collect::<Result<_, _>>()?;
    let streams: Vec<Vec<u8>> =
        parts.iter().map(|tokens| bit_stream(tokens, &lengths, &words)).collect();

    let mut file: Vec<u8> =
        lengths.as_flattened().chunks_exact(2).map(|pair| pair[0] | pair[1] << 4).collect();
    file.extend(u32::try_from(streams.len())?.to_le_bytes());
    for stream in &streams {
        file.extend(u32::try_from(stream.len())?.to_le_bytes());
    }
    file.extend(streams.concat());
    file.extend([0; PADDING]);
    Ok(file)
}

struct Token {
    table: usize,
    symbol: usize,
}

/// The runs and values of one part.
fn tokens(part: &[u8]) -> Result<Vec<Token>, String> {
    if part.len() < BLANK || part[..BLANK].iter().any(|&grey| grey != 0) {
        return Err(format!("a part does not start with {BLANK} zero pixels"));
    }
    let mut tokens = Vec::new();
    let mut at = BLANK;
    while at < part.len() {
        let run = part[at..].iter().take(LONG_RUN).take_while(|&&grey| grey == 0).count();
        let row_above = &part[at - ROW..at];
        let above = (0..ROW).map(|k| u32::from(row_above[k] != 0) << k).sum();
        tokens.push(Token { table: run_table(above), symbol: run });
        at += run;
        if run == LONG_RUN {
            continue;
        }
        while at < part.len() {
            let table = value_table(part[at - 1], part[at - ROW], part[at + 1 - ROW]);
            tokens.push(Token { table, symbol: usize::from(part[at]) });
            at += 1;
            if part[at - 1] == 0 {
                break;
            }
        }
    }
    Ok(tokens)
}

/// Lengths of a Huffman code for symbols that occur this often, none above [`MAX_BITS`]: the rare
/// symbols are taken to be less rare until that holds.
fn code_lengths(counts: &[u32; SYMBOLS]) -> [u8; SYMBOLS] {
    let mut counts = *counts;
    loop {
        let lengths = huffman(&counts);
        if lengths.iter().all(|&length| u32::from(length) <= MAX_BITS) {
            return lengths;
        }
        for count in counts.iter_mut().filter(|count| **count > 0) {
            *count = *count / 2 + 1;
        }
    }
}

fn huffman(counts: &[u32; SYMBOLS]) -> [u8; SYMBOLS] {
    let mut lengths = [0; SYMBOLS];
    let mut trees: BinaryHeap<Reverse<(u32, Vec<usize>)>> = (0..SYMBOLS)
        .filter(|&symbol| counts[symbol] > 0)
        .map(|symbol| Reverse((counts[symbol], vec![symbol])))
        .collect();
    if trees.len() == 1 {
        trees.iter().for_each(|Reverse((_, symbols))| lengths[symbols[0]] = 1);
    }
    while let (Some(Reverse(a)), Some(Reverse(b))) = (trees.pop(), trees.pop()) {
        let symbols = [a.1, b.1].concat();
        symbols.iter().for_each(|&symbol| lengths[symbol] += 1);
        trees.push(Reverse((a.0 + b.0, symbols)));
    }
    lengths
}

fn bit_stream(tokens: &[Token], lengths: &[[u8; SYMBOLS]], words: &[Vec<u16>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for &Token { table, symbol } in tokens {
        bits |= u32::from(words[table][symbol]) << count;
        count += u32::from(lengths[table][symbol]);
        while count >= 8 {
            bytes.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        bytes.push(bits as u8);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeflow_mnist::Split;

    #[test]
    fn encodes_the_embedded_files() {
        let train = encode(&Split::Train.images().unwrap()).unwrap();
        assert!(train == include_bytes!("../data/train-images.bin"));
        let test = encode(&Split::Test.images().unwrap()).unwrap();
        assert!(test == include_bytes!("../data/t10k-images.bin"));
    }

    #[test]
    fn refuses_an_image_that_starts_with_ink() {
        let error = encode(&[9; IMAGE]).unwrap_err();
        assert!(error.to_string().contains("zero pixels"), "{error}");
    }
}
