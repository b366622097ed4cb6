//! The largest value of each window.

use tapeflow_kernels::pool;

use crate::ops::nn::{Padding, PerAxis, Pool2D};
use crate::ops::prelude::*;

/// Those that TensorFlow pools on a CPU.
const DTYPES: DTypes =
    DTypes::FLOATING.or(DTypes::SIGNED).or(DTypes::of(&[DType::UInt8, DType::UInt16]));

/// The op of [`max_pool`], on NHWC.
#[derive(Debug, Clone)]
pub struct MaxPool(
    /// The attributes.
    pub Pool2D,
);

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "nn.max_pool"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "input", inputs[0].dtype, DTYPES)?;
        let shape = self.0.output_shape(self.name(), &inputs[0].shape)?;
        Ok(vec![Spec { shape, ..inputs[0] }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let geometry = self.0.kernel_geometry(self.name(), inputs[0].shape())?;
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            let output = outputs[0].data::<T>();
            if !output.is_empty() {
                pool::max_pool(&geometry, inputs[0].data(), output);
            }
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let pool = self.0.clone();
        Gradient::rule(Saves::INPUTS, move |call, _| {
            apply(MaxPoolGrad(pool.clone()), &[call.input(0), call.upstream()]).map(Some)
        })
    }
}

/// The gradient of [`max_pool`], whose inputs are the images and the gradient with respect to the
/// output: it goes to the first maximum of each window. `tf.raw_ops.MaxPoolGrad`.
#[derive(Debug, Clone)]
pub struct MaxPoolGrad(
    /// The attributes.
    pub Pool2D,
);

impl Op for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "nn.max_pool_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (input, grad) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), input, grad)?;
        check_dtype(self.name(), "input", input.dtype, DTypes::FLOATING)?;
        let output = self.0.output_shape(self.name(), &input.shape)?;
        check_shape(self.name(), &grad.shape, &output)?;
        Ok(vec![*input])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let geometry = self.0.kernel_geometry(self.name(), inputs[0].shape())?;
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            let (grad, gradient) = (inputs[1].data::<T>(), outputs[0].data::<T>());
            if grad.is_empty() || gradient.is_empty() {
                gradient.fill(T::ZERO);
                return Ok(());
            }
            pool::max_pool_grad(&geometry, inputs[0].data(), grad, gradient);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        // Which element is the maximum is constant almost everywhere.
        let pool = self.0.clone();
        Gradient::rule(Saves::input(0), move |call, index| match index {
            0 => Ok(None),
            _ => apply(MaxPoolGradGrad(pool.clone()), &[call.input(0), call.upstream()]).map(Some),
        })
    }
}

/// The gradient of [`MaxPoolGrad`] with respect to its second input, whose inputs are the images
/// and a tensor of their shape: of that, the values where the maxima are.
/// `tf.raw_ops.MaxPoolGradGrad`.
#[derive(Debug, Clone)]
pub struct MaxPoolGradGrad(
    /// The attributes.
    pub Pool2D,
);

impl Op for MaxPoolGradGrad {
    fn name(&self) -> &'static str {
        "nn.max_pool_grad_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (input, grad) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), input, grad)?;
        check_dtype(self.name(), "input", input.dtype, DTypes::FLOATING)?;
        check_shape(self.name(), &grad.shape, &input.shape)?;
        let shape = self.0.output_shape(self.name(), &input.shape)?;
        Ok(vec![Spec { shape, ..*input }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let geometry = self.0.kernel_geometry(self.name(), inputs[0].shape())?;
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            let (grad, output) = (inputs[1].data::<T>(), outputs[0].data::<T>());
            if grad.is_empty() || output.is_empty() {
                output.fill(T::ZERO);
                return Ok(());
            }
            pool::max_pool_grad_grad(&geometry, inputs[0].data(), grad, output);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let pool = self.0.clone();
        Gradient::rule(Saves::input(0), move |call, index| match index {
            0 => Ok(None),
            _ => apply(MaxPoolGrad(pool.clone()), &[call.input(0), call.upstream()]).map(Some),
        })
    }
}

fn check_shape(op: &str, grad: &Shape, wanted: &Shape) -> Result<()> {
    if grad == wanted {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: grad is {grad}, must be {wanted}")))
}

/// The largest value of each window of NHWC images, channel by channel. `tf.nn.max_pool`.
///
/// `input` is `[batch, height, width, channels]`. `ksize` and `strides` are a number,
/// `[height, width]` or a list for every axis. Padding is never the largest; along each axis the
/// result has `ceil(input / stride)` pixels with [`Padding::Same`],
/// `ceil((input - ksize + 1) / stride)` with [`Padding::Valid`]. [`Pool2D`] takes NCHW besides.
///
/// # Errors
/// `input` is `bool`, `uint32` or `uint64`, or has not four axes; a window larger than the padded
/// image; `ksize` or `strides` that are not positive or not 1 for batch and channels (pooling over
/// channels is not supported); explicit padding as large as the window.
///
/// ```
/// use tapeflow_core::{Tensor, nn};
/// use tapeflow_core::nn::Padding;
///
/// let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3, 1])?;
/// let pooled = nn::max_pool(&image, 2, 2, Padding::Same)?;
/// assert_eq!(pooled.shape().dims(), [1, 1, 2, 1]);
/// assert_eq!(pooled.to_vec::<f32>()?, [5.0, 6.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn max_pool(
    input: impl Into<Tensor>,
    ksize: impl Into<PerAxis>,
    strides: impl Into<PerAxis>,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    Pool2D::new(ksize, strides, padding).max_pool(input)
}

impl Pool2D {
    /// [`max_pool`] with every attribute.
    ///
    /// # Errors
    /// As for [`max_pool`].
    pub fn max_pool(&self, input: impl Into<Tensor>) -> Result<Tensor> {
        self.apply(&input.into(), MaxPool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, ones, reshape};
    use crate::ops::math::square;
    use crate::ops::nn::DataFormat;
    use crate::test::check_gradients;

    /// Values of which no two are near each other.
    fn image(shape: [usize; 4]) -> Tensor {
        let len = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..len).map(|i| (i * 7 % 31) as f64 * 0.1 - 1.0).collect();
        Tensor::from_slice(&values, shape).unwrap()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let explicit = Padding::Explicit([[0, 0], [1, 0], [1, 1], [0, 0]]);
        for pool in [
            Pool2D::new(2, 2, Padding::Same),
            Pool2D::new([3, 2], [1, 2], Padding::Valid),
            Pool2D::new(2, 1, explicit),
        ] {
            check_gradients(|x| square(pool.max_pool(&x[0])?), &[image([1, 3, 5, 2])]);
        }
        let pool = Pool2D { data_format: DataFormat::Nchw, ..Pool2D::new(2, 2, Padding::Same) };
        check_gradients(|x| square(pool.max_pool(&x[0])?), &[image([1, 2, 3, 5])]);
    }

    #[test]
    fn padding_is_never_the_largest() {
        let image = Tensor::from_slice(&[-1.0f32, -2.0, -3.0, -4.0], [1, 2, 2, 1]).unwrap();
        let y = max_pool(&image, 3, 1, Padding::Same).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [-1.0; 4]);
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() {
        let image = ones([1, 2, 2, 1], DType::Float32).unwrap();
        let tape = crate::GradientTape::new();
        tape.watch(&image);
        let y = max_pool(&image, 2, 2, Padding::Valid).unwrap();
        let gradient = tape.gradient(&y, &image).unwrap().unwrap();
        assert_eq!(gradient.to_vec::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn channels_first_and_lists() {
        let pool = Pool2D {
            data_format: DataFormat::Nchw,
            ..Pool2D::new([1, 1, 1, 2], [1, 1, 1, 2], Padding::Valid)
        };
        let y = pool.max_pool(reshape([1i32, 2, 3, 4, 8, 7, 6, 5], [1, 2, 2, 2]).unwrap()).unwrap();
        assert_eq!(y.shape().dims(), [1, 2, 2, 1]);
        assert_eq!(y.to_vec::<i32>().unwrap(), [2, 4, 8, 6]);
    }

    #[test]
    fn every_dtype_pools() {
        for dtype in DType::ALL {
            let y = max_pool(ones([1, 2, 2, 1], dtype).unwrap(), 2, 2, Padding::Same);
            if !DTYPES.contains(dtype) {
                assert!(y.unwrap_err().is_dtype(), "{dtype}");
                continue;
            }
            let y = cast(y.unwrap(), DType::Int32).unwrap();
            assert_eq!(y.to_vec::<i32>().unwrap(), [1], "{dtype}");
        }
    }

    #[test]
    fn empty_images_pool_to_empty_ones() {
        for (shape, pooled) in [
            ([0, 8, 8, 4], [0, 4, 4, 4]),
            ([2, 0, 8, 4], [2, 0, 4, 4]),
            ([2, 8, 8, 0], [2, 4, 4, 0]),
        ] {
            let input = ones(shape, DType::Float32).unwrap();
            let y = max_pool(&input, 2, 2, Padding::Same).unwrap();
            assert_eq!(y.shape().dims(), pooled);
        }
    }

    #[test]
    fn refusals_name_the_argument() {
        let input = ones([1, 8, 8, 4], DType::Float32).unwrap();
        let refusal = |ksize: PerAxis, strides: PerAxis, padding| {
            max_pool(&input, ksize, strides, padding).unwrap_err().to_string()
        };
        let pads = Padding::Explicit([[0, 0], [2, 1], [1, 1], [0, 0]]);
        assert_eq!(
            refusal(0.into(), 1.into(), Padding::Same),
            "nn.max_pool: ksize [0] NHWC: must be positive"
        );
        assert_eq!(
            refusal(2.into(), [2, 1, 1, 1].into(), Padding::Same),
            "nn.max_pool: strides [2, 1, 1, 1] NHWC: must be 1 on the axes of batch and channels"
        );
        assert_eq!(
            refusal(2.into(), 2.into(), pads),
            "nn.max_pool: padding [[0, 0], [2, 1], [1, 1], [0, 0]] NHWC must be smaller than the \
             window 2 x 2"
        );
        assert_eq!(
            refusal(10.into(), 1.into(), Padding::Valid),
            "nn.max_pool: a window of 10 with dilation 1 and stride 1 does not fit height 8, \
             padding VALID"
        );
        let error = max_pool([1.0f32], 1, 1, Padding::Same).unwrap_err().to_string();
        assert_eq!(error, "nn.max_pool: input must have 4 axes, has shape [1]");
    }

    #[test]
    fn hostile_attributes_are_errors_or_small() {
        let input = ones([1, 4, 4, 1], DType::Float32).unwrap();
        for large in [i64::MAX, i64::MAX / 2, 1 << 40] {
            let y = max_pool(&input, 2, large, Padding::Same).unwrap();
            assert_eq!(y.shape().dims(), [1, 1, 1, 1]);
            if let Ok(y) = max_pool(&input, large, 1, Padding::Same) {
                assert_eq!(y.to_vec::<f32>().unwrap(), [1.0; 16]);
            }
            assert!(max_pool(&input, large, 1, Padding::Valid).is_err());
        }
    }
}
