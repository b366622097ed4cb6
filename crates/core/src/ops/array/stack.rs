//! Tensors of one shape side by side along a new axis.

use tapeflow_kernels::movement::{row_major_strides, scatter};

use crate::ops::array::{Dims, reshape};
use crate::ops::prelude::*;
use crate::shape::MAX_RANK;

/// The op of [`stack`].
#[derive(Debug, Clone, Copy)]
pub struct Stack {
    /// Where the new axis stands in the result; negative counts from its end.
    pub axis: i64,
}
