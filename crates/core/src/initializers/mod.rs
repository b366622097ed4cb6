//! Initial values of variables, `tf.initializers`.
//!
//! An initializer maps a shape and a dtype to a tensor. The random ones with a seed give the same
//! tensor at each call, the one of TensorFlow; without a seed each call draws from the global
//! generator that [`random::set_seed`](crate::random::set_seed) seeds.
//!
//! ```
//! use tapeflow_core::initializers::{Initializer, RandomNormal, Zeros};
//! use tapeflow_core::{DType, Variable};
//!
//! let random_normal = RandomNormal::new(0.0, 0.05, Some(1));
//! let filters = Variable::named("filters", random_normal.call([3, 3, 1, 32], DType::Float32)?);
//! let bias = Variable::named("bias", Zeros.call([32], DType::Float32)?);
//! assert_eq!(filters.shape().dims(), [3, 3, 1, 32]);
//! assert_eq!(bias.value().to_vec::<f32>()?, [0.0; 32]);
//! # Ok::<(), tapeflow_core::Error>(())
//! ```

mod constant;
mod distributions;
mod scaled;

pub use constant::{Constant, Ones, Zeros};
pub use distributions::{RandomNormal, RandomUniform};
pub use scaled::{GlorotUniform, HeNormal};

use crate::dtype::DType;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Makes initial values.
pub trait Initializer {
    /// A tensor of `shape` and `dtype`; [`call`](Self::call) takes any form of shape.
    ///
    /// # Errors
    /// A dtype that the initializer has no values of.
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor>;

    /// A tensor of `shape` and `dtype`.
    ///
    /// # Errors
    /// A dtype that the initializer has no values of.
    fn call(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor>
    where
        Self: Sized,
    {
        self.initialize(shape.into(), dtype)
    }
}
