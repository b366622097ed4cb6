//! The mean of each window.

use tapeflow_kernels::pool;

use crate::ops::nn::{Padding, PerAxis, Pool2D};
use crate::ops::prelude::*;

/// The op of [`avg_pool`], on NHWC.
#[derive(Debug, Clone)]
pub struct AvgPool(
    /// The attributes.
    pub Pool2D,
);

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        "nn.avg_pool"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "input", inputs[0].dtype, DTypes::FLOATING)?;
        if let Padding::Explicit(_) = self.0.padding {
            return Err(Error::invalid_argument(format!(
                "{}: padding must be SAME or VALID, is {}",
                self.name(),
                self.0.padding
            )));
        }
        let shape = self.0.output_shape(self.name(), &inputs[0].shape)?;
        Ok(vec![Spec { shape, ..inputs[0] }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let geometry = self.0.kernel_geometry(self.name(), inputs[0].shape())?;
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            let output = outputs[0].data::<T>();
            if !output.is_empty() {
                pool::avg_pool(&geometry, inputs[0].data(), output);
            }
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let pool = self.0.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            let input_shape = call.input_spec(0).shape;
            apply(AvgPoolGrad { input_shape, pool: pool.clone() }, &[call.upstream()]).map(Some)
        })
    }
}

/// The gradient of [`avg_pool`], whose input is that with respect to the output: each window shares
/// it out evenly. `tf.raw_ops.AvgPoolGrad`.
#[derive(Debug, Clone)]
pub struct AvgPoolGrad {
    /// The shape of the images.
    pub input_shape: Shape,
    /// The attributes.
    pub pool: Pool2D,
}

impl Op for AvgPoolGrad {
    fn name(&self) -> &'static str {
        "nn.avg_pool_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let grad = &inputs[0];
        check_dtype(self.name(), "grad", grad.dtype, DTypes::FLOATING)?;
        let output = self.pool.output_shape(self.name(), &self.input_shape)?;
        if grad.shape != output {
            return Err(Error::shape(format!(
                "{}: grad is {}, must be {output}",
                self.name(),
                grad.shape
            )));
        }
        Ok(vec![Spec { shape: self.input_shape, ..*grad }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let geometry = self.pool.kernel_geometry(self.name(), &self.input_shape)?;
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            let (grad, gradient) = (inputs[0].data::<T>(), outputs[0].data::<T>());
            if grad.is_empty() || gradient.is_empty() {
                gradient.fill(T::ZERO);
                return Ok(());
            }
            pool::avg_pool_grad(&geometry, grad, gradient);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let pool = self.pool.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            apply(AvgPool(pool.clone()), &[call.upstream()]).map(Some)
        })
    }
}

/// The mean of each window of NHWC images, channel by channel; padding is not counted.
/// `tf.nn.avg_pool`.
///
/// `input` is `[batch, height, width, channels]`; `ksize` and `strides` are a number,
/// `[height, width]` or a list for every axis; the result is as large as
/// [`max_pool`](crate::nn::max_pool)'s. [`Pool2D`] takes NCHW besides.
///
/// # Errors
/// `input` is not floating or has not four axes; a window larger than the image with
/// [`Padding::Valid`]; `ksize` or `strides` that are not positive or not 1 for batch and channels;
/// explicit padding, which TensorFlow refuses too.
///
/// ```
/// use tapeflow_core::{Tensor, nn};
/// use tapeflow_core::nn::Padding;
///
/// let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3, 1])?;
/// let pooled = nn::avg_pool(&image, 2, 2, Padding::Same)?;
/// assert_eq!(pooled.to_vec::<f32>()?, [3.0, 4.5]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn avg_pool(
    input: impl Into<Tensor>,
    ksize: impl Into<PerAxis>,
    strides: impl Into<PerAxis>,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    Pool2D::new(ksize, strides, padding).avg_pool(input)
}

impl Pool2D {
    /// [`avg_pool`] with every attribute.
    ///
    /// # Errors
    /// As for [`avg_pool`].
    pub fn avg_pool(&self, input: impl Into<Tensor>) -> Result<Tensor> {
        self.apply(&input.into(), AvgPool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::ones;
    use crate::ops::math::square;
    use crate::ops::nn::DataFormat;
    use crate::test::check_gradients;

    fn image(shape: [usize; 4]) -> Tensor {
        let len = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..len).map(|i| (i as f64 * 1.3).sin()).collect();
        Tensor::from_slice(&values, shape).unwrap()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for pool in [
            Pool2D::new(2, 2, Padding::Same),
            Pool2D::new([3, 2], [1, 2], Padding::Valid),
            Pool2D::new(3, 1, Padding::Same),
        ] {
            check_gradients(|x| square(pool.avg_pool(&x[0])?), &[image([1, 3, 5, 2])]);
        }
        let pool = Pool2D { data_format: DataFormat::Nchw, ..Pool2D::new(2, 2, Padding::Same) };
        check_gradients(|x| square(pool.avg_pool(&x[0])?), &[image([1, 2, 3, 5])]);
    }

    #[test]
    fn refusals_name_the_argument() {
        let input = ones([1, 4, 4, 1], DType::Float32).unwrap();
        let pads = [[0, 0], [1, 1], [1, 1], [0, 0]];
        assert_eq!(
            avg_pool(&input, 3, 1, pads).unwrap_err().to_string(),
            "nn.avg_pool: padding must be SAME or VALID, is [[0, 0], [1, 1], [1, 1], [0, 0]]"
        );
        let input = ones([1, 4, 4, 1], DType::Int32).unwrap();
        assert!(avg_pool(&input, 3, 1, Padding::Same).unwrap_err().is_dtype());
    }

    #[test]
    fn empty_images_pool_to_empty_ones() {
        let input = ones([0, 8, 8, 4], DType::Float32).unwrap();
        let y = avg_pool(&input, 2, 2, Padding::Same).unwrap();
        assert_eq!(y.shape().dims(), [0, 4, 4, 4]);
    }
}
