//! `tf.math`: arithmetic, reductions and functions.

mod add;
mod multiply;
mod reduce_sum;
mod square;
mod subtract;

pub use add::{Add, add};
pub use multiply::{Multiply, multiply};
pub use reduce_sum::{ReduceSum, reduce_sum};
pub(crate) use reduce_sum::sum_to_shape;
pub use square::{Square, square};
pub use subtract::{Subtract, subtract};
