//! The embedded data is the genuine one.

use std::num::NonZero;

use md5::{Digest, Md5};
use tapeflow_mnist::Split;

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_four_files_have_their_published_md5_sums() {
    let images = |split: Split| split.images_idx().unwrap();
    assert_eq!(md5(&images(Split::Train)), "6bbc9ace898e44ae57da46a324031adb");
    assert_eq!(md5(Split::Train.labels_idx()), "a25bea736e30d166cdddb491f175f624");
    assert_eq!(md5(&images(Split::Test)), "2646ac647ad5339dbf082846283269ea");
    assert_eq!(md5(Split::Test.labels_idx()), "27ae3e4e09519cfbb04c329615203637");
}

#[test]
fn any_number_of_threads_gives_the_same_pixels() {
    let expected = Split::Test.images().unwrap();
    for threads in [1, 2, 3, 10, 64] {
        let images = Split::Test.images_with(NonZero::new(threads).unwrap()).unwrap();
        assert!(images == expected, "{threads} threads");
    }
}

#[test]
fn splits_have_as_many_images_as_labels() {
    for (split, len) in [(Split::Train, 60_000), (Split::Test, 10_000)] {
        assert_eq!(split.len(), len);
        assert_eq!(split.images().unwrap().len(), len * 28 * 28);
        assert_eq!(split.labels().len(), len);
        assert!(split.labels().iter().all(|&label| label < 10));
    }
}
