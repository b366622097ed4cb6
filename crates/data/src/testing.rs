//! What the combinators' tests share.

use crate::dataset::Dataset;
use crate::structure::Structure;
use tapeflow_core::Tensor;

/// The elements, scalars of `int64`.
pub(crate) fn numbers(dataset: &Dataset<Tensor>) -> Vec<i64> {
    dataset.iter().map(|element| element.unwrap().to_scalar::<i64>().unwrap()).collect()
}

/// The elements, vectors of `int64`.
pub(crate) fn rows(dataset: &Dataset<Tensor>) -> Vec<Vec<i64>> {
    dataset.iter().map(|element| element.unwrap().to_vec::<i64>().unwrap()).collect()
}

/// The specs and bytes of the elements that are left.
fn contents<E: Structure>(elements: impl Iterator<Item = tapeflow_core::Result<E>>) -> Vec<String> {
    let text = |tensor: &&Tensor| format!("{} {:?}", tensor.spec(), tensor.as_bytes());
    elements.map(|element| element.unwrap().components().iter().map(text).collect()).collect()
}

/// Asserts that skipping is the same as taking and throwing away, from every place for every count,
/// and that the number of elements is the one known before.
pub(crate) fn assert_skips<E: Structure>(dataset: &Dataset<E>) {
    // The same pass every time: each call of `same` is the first iteration of its dataset.
    let same = || Dataset::take(dataset, u64::MAX);
    let all = contents(same().iter());
    if let Some(length) = dataset.cardinality().finite() {
        assert_eq!(length, all.len() as u64);
    }
    for count in 0..all.len() + 2 {
        let skipped = contents(dataset.skip(count as u64).iter());
        assert_eq!(skipped, all[count.min(all.len())..], "{count} skipped at once");
        for taken in 0..all.len() - count.min(all.len()) {
            let mut iter = same().iter();
            assert_eq!(contents(iter.by_ref().take(taken)), all[..taken]);
            let left = contents(iter.skip(count));
            assert_eq!(left, all[taken + count..], "{count} skipped after {taken}");
        }
    }
}
