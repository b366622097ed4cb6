//! What one step of a chain computes.

use crate::element::{Float, Number};
use crate::vecmath;

/// A function of one to three operands, element by element on `f32`. Truth is 1 and falsehood 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `x` as it is: what is stored as `u8` is converted where it is read.
    Cast,
    /// `-x`.
    Negative,
    /// `|x|`.
    Abs,
    /// 1, 0 or -1, [`vecmath::sign`].
    Sign,
    /// `x * x`.
    Square,
    /// The square root.
    Sqrt,
    /// `e^x`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The hyperbolic tangent.
    Tanh,
    /// [`vecmath::sigmoid`].
    Sigmoid,
    /// The error function.
    Erf,
    /// [`vecmath::relu`].
    Relu,
    /// `x + y`.
    Add,
    /// `x - y`.
    Subtract,
    /// `x * y`.
    Multiply,
    /// `x / y`.
    Divide,
    /// The larger of two, NaN where either is.
    Maximum,
    /// The smaller of two, NaN where either is.
    Minimum,
    /// `x` to the power `y`.
    Pow,
    /// [`vecmath::relu_grad`] of upstream and result.
    ReluGrad,
    /// [`vecmath::sigmoid_grad`] of upstream and result.
    SigmoidGrad,
    /// [`vecmath::tanh_grad`] of upstream and result.
    TanhGrad,
    /// [`vecmath::scale_kept`] of a value and noise.
    ScaleKept {
        /// The probability that an element is dropped.
        rate: f32,
        /// The factor of the others.
        scale: f32,
    },
    /// `x == y`.
    Equal,
    /// `x != y`.
    NotEqual,
    /// `x < y`.
    Less,
    /// `x <= y`.
    LessEqual,
    /// `x > y`.
    Greater,
    /// `x >= y`.
    GreaterEqual,
    /// The second operand where the first is not 0, else the third.
    Select,
}

impl Function {
    /// The number of operands.
    ///
    /// ```
    /// use tapeflow_kernels::chain::Function;
    /// assert_eq!([Function::Exp, Function::Add, Function::Select].map(Function::operands), [1, 2, 3]);
    /// ```
    pub fn operands(self) -> usize {
        use Function::*;
        match self {
            Cast | Negative | Abs | Sign | Square | Sqrt | Exp | Log | Tanh | Sigmoid | Erf
            | Relu => 1,
            Add | Subtract | Multiply | Divide | Maximum | Minimum | Pow => 2,
            ReluGrad | SigmoidGrad | TanhGrad | ScaleKept { .. } => 2,
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => 2,
            Select => 3,
        }
    }

    /// Whether it compares two operands, and so results in truth or falsehood.
    pub fn is_comparison(self) -> bool {
        use Function::*;
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }

    /// Applies it to each element; `out` and the operands that it takes are of one length.
    #[inline(always)]
    pub(super) fn apply(self, out: &mut [f32], [x, y, z]: [&[f32]; 3]) {
        match self {
            Function::Cast => out.copy_from_slice(x),
            Function::Negative => unary(out, x, Number::neg),
            Function::Abs => unary(out, x, Number::abs),
            Function::Sign => unary(out, x, vecmath::sign),
            Function::Square => unary(out, x, |x| x * x),
            Function::Sqrt => unary(out, x, Float::sqrt),
            Function::Exp => unary(out, x, Float::exp),
            Function::Log => unary(out, x, Float::ln),
            Function::Tanh => unary(out, x, Float::tanh),
            Function::Sigmoid => unary(out, x, vecmath::sigmoid),
            Function::Erf => unary(out, x, Float::erf),
            Function::Relu => unary(out, x, vecmath::relu),
            Function::Add => binary(out, x, y, Number::add),
            Function::Subtract => binary(out, x, y, Number::sub),
            Function::Multiply => binary(out, x, y, Number::mul),
            Function::Divide => binary(out, x, y, Float::div),
            Function::Maximum => binary(out, x, y, Number::maximum),
            Function::Minimum => binary(out, x, y, Number::minimum),
            Function::Pow => binary(out, x, y, Float::powf),
            Function::ReluGrad => binary(out, x, y, vecmath::relu_grad),
            Function::SigmoidGrad => binary(out, x, y, vecmath::sigmoid_grad),
            Function::TanhGrad => binary(out, x, y, vecmath::tanh_grad),
            Function::ScaleKept { rate, scale } => {
                binary(out, x, y, |x, noise| vecmath::scale_kept(x, noise, rate, scale));
            }
            Function::Equal => compare(out, x, y, |x, y| x == y),
            Function::NotEqual => compare(out, x, y, |x, y| x != y),
            Function::Less => compare(out, x, y, |x, y| x < y),
            Function::LessEqual => compare(out, x, y, |x, y| x <= y),
            Function::Greater => compare(out, x, y, |x, y| x > y),
            Function::GreaterEqual => compare(out, x, y, |x, y| x >= y),
            Function::Select => {
                for (((out, &chosen), &x), &y) in out.iter_mut().zip(x).zip(y).zip(z) {
                    *out = if chosen != 0.0 { x } else { y };
                }
            }
        }
    }
}

#[inline(always)]
fn unary(out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

#[inline(always)]
fn binary(out: &mut [f32], x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = f(x, y);
    }
}

#[inline(always)]
fn compare(out: &mut [f32], x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> bool) {
    binary(out, x, y, |x, y| f32::from(u8::from(f(x, y))));
}
