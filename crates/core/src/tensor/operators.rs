//! The operators `+ - * /` and unary `-`.
//!
//! They panic with the op's message, at the caller's line, where the named function would return
//! an error: [`math::add`], [`math::subtract`], [`math::multiply`], [`math::divide`] and
//! [`math::negative`] are their fallible twins. A number on one side takes the dtype of the tensor
//! on the other.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::error::Result;
use crate::ops::math;
use crate::tensor::Tensor;
use crate::variable::Variable;

#[track_caller]
fn or_panic(result: Result<Tensor>) -> Tensor {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn like(value: f64, tensor: &Tensor) -> Tensor {
    or_panic(Tensor::scalar(value, tensor.dtype()))
}

macro_rules! binary_operator {
    ($Trait:ident, $method:ident, $function:path) => {
        binary_operator!(@ $Trait, $method, $function,
            (Tensor, Tensor), (Tensor, &Tensor), (&Tensor, Tensor), (&Tensor, &Tensor),
            (&Variable, &Variable), (&Variable, Tensor), (&Variable, &Tensor),
            (Tensor, &Variable), (&Tensor, &Variable));
        binary_operator!(number $Trait, $method, $function, f64, i32);
    };
    (@ $Trait:ident, $method:ident, $function:path, $(($Left:ty, $Right:ty)),*) => {$(
        impl $Trait<$Right> for $Left {
            type Output = Tensor;

            #[doc = concat!("See [`", stringify!($function), "`]; panics where that is an error.")]
            #[track_caller]
            fn $method(self, right: $Right) -> Tensor {
                or_panic($function(self, right))
            }
        }
    )*};
    (number $Trait:ident, $method:ident, $function:path, $($Number:ty),*) => {$(
        impl $Trait<$Number> for Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, right: $Number) -> Tensor {
                (&self).$method(right)
            }
        }

        impl $Trait<$Number> for &Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, right: $Number) -> Tensor {
                or_panic($function(self, like(right.into(), self)))
            }
        }

        impl $Trait<Tensor> for $Number {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, right: Tensor) -> Tensor {
                self.$method(&right)
            }
        }

        impl $Trait<&Tensor> for $Number {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, right: &Tensor) -> Tensor {
                or_panic($function(like(self.into(), right), right))
            }
        }
    )*};
}

binary_operator!(Add, add, math::add);
binary_operator!(Sub, sub, math::subtract);
binary_operator!(Mul, mul, math::multiply);
binary_operator!(Div, div, math::divide);

impl Neg for &Tensor {
    type Output = Tensor;

    /// See [`math::negative`]; panics where that is an error.
    #[track_caller]
    fn neg(self) -> Tensor {
        or_panic(math::negative(self))
    }
}

impl Neg for Tensor {
    type Output = Tensor;

    #[track_caller]
    fn neg(self) -> Tensor {
        -&self
    }
}
