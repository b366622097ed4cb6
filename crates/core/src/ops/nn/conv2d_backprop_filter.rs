//! The gradient of a convolution with respect to its filters.

use tapeflow_kernels::conv;

use crate::ops::nn::conv2d::{DTYPES, no_scratch};
use crate::ops::nn::conv2d_backprop_input::check_out_backprop;
use crate::ops::nn::{Conv2D, Conv2DBackpropInput, Padding, PerAxis};
use crate::ops::prelude::*;

/// The op of [`conv2d_backprop_filter`]: its inputs are the images and the gradient with respect to
/// the output.
#[derive(Debug, Clone)]
pub struct Conv2DBackpropFilter {
    /// The shape of the filters.
    pub filters_shape: Shape,
    /// The convolution.
    pub conv: Conv2D,
}

impl Op for Conv2DBackpropFilter {
    fn name(&self) -> &'static str {
        "nn.conv2d_backprop_filter"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (input, out_backprop) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), input, out_backprop)?;
        check_dtype(self.name(), "input", input.dtype, DTYPES)?;
        let output = self.conv.output_shape(self.name(), &input.shape, &self.filters_shape)?;
        check_out_backprop(self.name(), &out_backprop.shape, &output)?;
        Ok(vec![Spec { shape: self.filters_shape, ..*input }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (input, out_backprop) = (inputs[0], inputs[1]);
        let geometry =
            self.conv.kernel_geometry(self.name(), input.shape(), &self.filters_shape)?;
        dispatch_wide!(product, self, inputs, outputs, input.dtype(), T => {
            let (input, out_backprop) = (input.data::<T>(), out_backprop.data::<T>());
            let gradient = outputs[0].data::<T>();
            if input.is_empty() || out_backprop.is_empty() {
                gradient.fill(T::ZERO);
                return Ok(());
            }
            conv::conv2d_backprop_filter(&geometry, input, out_backprop, gradient)
                .map_err(no_scratch(self.name()))
        })
    }

    fn gradient(&self) -> Gradient {
        let conv = self.conv.clone();
        Gradient::rule(Saves::INPUTS, move |call, index| {
            let (input, out_backprop, upstream) = (call.input(0), call.input(1), call.upstream());
            let conv = conv.clone();
            match index {
                0 => {
                    let op = Conv2DBackpropInput { input_shape: *input.shape(), conv };
                    apply(op, &[upstream, out_backprop]).map(Some)
                }
                _ => apply(conv, &[input, upstream]).map(Some),
            }
        })
    }
}

/// The gradient of [`conv2d`](crate::nn::conv2d) with respect to its filters of shape
/// `filter_sizes`, from that with respect to its output. `tf.raw_ops.Conv2DBackpropFilter`.
///
/// [`Conv2DBackpropFilter`] takes dilations besides.
///
/// # Errors
/// As for [`conv2d`](crate::nn::conv2d); an `out_backprop` of another shape than its output.
///
/// ```
/// use tapeflow_core::{DType, array, nn};
/// use tapeflow_core::nn::Padding;
///
/// let images = array::ones([1, 2, 3, 1], DType::Float32)?;
/// let out_backprop = array::ones([1, 1, 2, 1], DType::Float32)?;
/// let gradient =
///     nn::conv2d_backprop_filter(&images, [2, 2, 1, 1], &out_backprop, 1, Padding::Valid)?;
/// assert_eq!(gradient.to_vec::<f32>()?, [2.0; 4]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn conv2d_backprop_filter(
    input: impl Into<Tensor>,
    filter_sizes: impl Into<Shape>,
    out_backprop: impl Into<Tensor>,
    strides: impl Into<PerAxis>,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    let conv = Conv2D::new(strides, padding);
    let op = Conv2DBackpropFilter { filters_shape: filter_sizes.into(), conv };
    apply(op, &[&input.into(), &out_backprop.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{ones, reshape};
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let input: Vec<f64> = (0..12).map(|i| (f64::from(i) * 1.3).sin()).collect();
        let input = Tensor::from_slice(&input, [1, 3, 4, 1]).unwrap();
        let out_backprop = Tensor::from([0.1f64, 0.9, -0.4, 1.2, 0.6, -0.8, 0.7, 0.2]);
        let out_backprop = reshape(out_backprop, [1, 2, 2, 2]).unwrap();
        check_gradients(
            |x| conv2d_backprop_filter(&x[0], [2, 2, 1, 2], &x[1], 2, Padding::Same),
            &[input, out_backprop],
        );
    }

    #[test]
    fn the_gradient_must_have_the_shape_of_the_output() {
        let of = |shape: [usize; 4]| ones(shape, DType::Float32).unwrap();
        let (input, out_backprop) = (of([1, 4, 4, 1]), of([1, 4, 4, 2]));
        let error = conv2d_backprop_filter(input, [3, 3, 1, 2], out_backprop, 1, Padding::Valid);
        assert_eq!(
            error.unwrap_err().to_string(),
            "nn.conv2d_backprop_filter: out_backprop is [1, 4, 4, 2], the output is [1, 2, 2, 2]"
        );
    }
}
