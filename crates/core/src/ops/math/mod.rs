//! `tf.math`: arithmetic, reductions and functions.

mod add;
mod divide;
mod multiply;
mod negative;
mod reduce_sum;
mod square;
mod subtract;

pub use add::{Add, add};
pub use divide::{Divide, divide};
pub use multiply::{Multiply, multiply};
pub use negative::{Negative, negative};
pub(crate) use reduce_sum::sum_to_shape;
pub use reduce_sum::{ReduceSum, reduce_sum};
pub use square::{Square, square};
pub use subtract::{Subtract, subtract};
