use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tapeflow_testing::mutation;

use super::*;

fn parse_bytes(bytes: &[u8]) -> Result<Tensor> {
    read_from(bytes, Path::new("digits-idx3-ubyte.gz"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(code: u8, dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn message(bytes: &[u8]) -> String {
    let error = parse_bytes(bytes).unwrap_err();
    let text = error.to_string();
    text.strip_prefix("digits-idx3-ubyte.gz: ").expect("it names the file").to_owned()
}

#[test]
fn every_dtype_plain_and_gzipped() {
    let check = |bytes: Vec<u8>, spec: Spec, test: &dyn Fn(&Tensor)| {
        for bytes in [gzip(&bytes), bytes] {
            let tensor = parse_bytes(&bytes).unwrap();
            assert_eq!(*tensor.spec(), spec);
            test(&tensor);
        }
    };
    check(file(8, &[2, 1], &[1, 255]), Spec::new(DType::UInt8, [2, 1]), &|x| {
        assert_eq!(x.to_vec::<u8>().unwrap(), [1, 255]);
    });
    check(file(9, &[2], &[1, 255]), Spec::new(DType::Int8, [2]), &|x| {
        assert_eq!(x.to_vec::<i8>().unwrap(), [1, -1]);
    });
    check(file(11, &[2], &[1, 2, 255, 254]), Spec::new(DType::Int16, [2]), &|x| {
        assert_eq!(x.to_vec::<i16>().unwrap(), [258, -2]);
    });
    check(file(12, &[], &[0, 0, 1, 2]), Spec::new(DType::Int32, []), &|x| {
        assert_eq!(x.to_vec::<i32>().unwrap(), [258]);
    });
    check(file(13, &[1], &1.5f32.to_be_bytes()), Spec::new(DType::Float32, [1]), &|x| {
        assert_eq!(x.to_vec::<f32>().unwrap(), [1.5]);
    });
    check(file(14, &[1], &1.5f64.to_be_bytes()), Spec::new(DType::Float64, [1]), &|x| {
        assert_eq!(x.to_vec::<f64>().unwrap(), [1.5]);
    });
    check(file(8, &[0, 28, 28], &[]), Spec::new(DType::UInt8, [0, 28, 28]), &|x| {
        assert!(x.as_bytes().is_empty());
    });
}

#[test]
fn damage_is_named() {
    let valid = file(8, &[3], &[1, 2, 3]);
    assert_eq!(message(&[]), "truncated: 0 bytes where an IDX header has 4");
    assert_eq!(message(&valid[..3]), "truncated: 3 bytes where an IDX header has 4");
    assert_eq!(message(&valid[..6]), "truncated: the IDX header has 1 axes and ends in axis 0");
    let truncated = "truncated: the header says uint8 [3], 3 bytes, and 2 follow";
    assert_eq!(message(&valid[..10]), truncated);
    assert_eq!(message(&gzip(&valid[..10])), truncated);
    let trailing = "more bytes follow than the 3 of uint8 [3] that the header says";
    let long = [&valid[..], &[0]].concat();
    assert_eq!(message(&long), trailing);
    assert_eq!(message(&gzip(&long)), trailing);
    assert!(message(b"PNG file").starts_with("not an IDX file: it begins with 0x504e4720"));
    assert!(message(&file(10, &[1], &[1])).starts_with("not an IDX file"));
    assert!(message(&file(8, &[1; 9], &[1])).contains("9 axes, the most is 8"));
}

#[test]
fn corrupt_gzip_is_named() {
    let valid = gzip(&file(8, &[3], &[1, 2, 3]));
    let mut wrong_checksum = valid.clone();
    let checksum = valid.len() - 8;
    wrong_checksum[checksum] ^= 1;
    for bytes in [&valid[..valid.len() - 1], &wrong_checksum, &[&valid[..], b"junk"].concat()] {
        let error = parse_bytes(bytes).unwrap_err();
        assert!(error.is_data(), "{error}");
        assert!(error.to_string().contains("corrupt gzip"), "{error}");
    }
}

#[test]
fn promises_of_a_header_take_no_memory() {
    let hostile = file(14, &[u32::MAX; 8], &[1, 2, 3]);
    assert!(message(&hostile).starts_with("truncated"));
    assert!(message(&gzip(&hostile)).starts_with("truncated"));
    // A stream of 16 MB where the header says one byte is not read on.
    let bomb = gzip(&file(8, &[1], &vec![0; 16 << 20]));
    assert!(bomb.len() < 1 << 16);
    assert!(message(&bomb).starts_with("more bytes follow"));
}

#[test]
fn a_missing_file_and_a_directory_are_io_errors() {
    let directory = tempfile::tempdir().unwrap();
    let missing = read(directory.path().join("none")).unwrap_err();
    assert!(missing.is_io());
    assert!(missing.to_string().contains("none"), "{missing}");
    assert!(read(directory.path()).unwrap_err().is_io());
}

#[test]
fn damaged_files_are_read_or_refused() {
    let values: Vec<u8> = (0..96).collect();
    let plain = file(8, &[4, 4, 6], &values);
    let mut refused = 0;
    for valid in [&plain, &gzip(&plain), &file(14, &[3, 4], &values)] {
        mutation::for_each(valid, 4000, |bytes| match parse_bytes(bytes) {
            // Deflate makes at most 1032 bytes of one.
            Ok(tensor) => assert!(tensor.as_bytes().len() <= 1032 * bytes.len()),
            Err(error) => {
                assert!(error.is_data() || error.is_shape(), "{error:?}");
                refused += 1;
            }
        });
    }
    assert!(refused > 6000, "{refused}");
}
