//! The gradient of a convolution with respect to its images.

use tapeflow_kernels::conv;

use crate::ops::nn::conv2d::{DTYPES, no_scratch};
use crate::ops::nn::{Conv2D, Conv2DBackpropFilter, Padding, PerAxis};
use crate::ops::prelude::*;

/// The op of [`conv2d_backprop_input`]: its inputs are the filters and the gradient with respect to
/// the output.
#[derive(Debug, Clone)]
pub struct Conv2DBackpropInput {
    /// The shape of the images.
    pub input_shape: Shape,
    /// The convolution.
    pub conv: Conv2D,
}

impl Op for Conv2DBackpropInput {
    fn name(&self) -> &'static str {
        "nn.conv2d_backprop_input"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (filters, out_backprop) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), filters, out_backprop)?;
        check_dtype(self.name(), "filters", filters.dtype, DTYPES)?;
        let output = self.conv.output_shape(self.name(), &self.input_shape, &filters.shape)?;
        check_out_backprop(self.name(), &out_backprop.shape, &output)?;
        Ok(vec![Spec { shape: self.input_shape, ..*filters }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (filters, out_backprop) = (inputs[0], inputs[1]);
        let geometry =
            self.conv.kernel_geometry(self.name(), &self.input_shape, filters.shape())?;
        dispatch_wide!(product, self, inputs, outputs, filters.dtype(), T => {
            let (out_backprop, gradient) = (out_backprop.data::<T>(), outputs[0].data::<T>());
            if out_backprop.is_empty() || gradient.is_empty() {
                gradient.fill(T::ZERO);
                return Ok(());
            }
            conv::conv2d_backprop_input(&geometry, out_backprop, filters.data(), gradient)
                .map_err(no_scratch(self.name()))
        })
    }

    fn gradient(&self) -> Gradient {
        let conv = self.conv.clone();
        Gradient::rule(Saves::INPUTS, move |call, index| {
            let (filters, out_backprop, upstream) = (call.input(0), call.input(1), call.upstream());
            let conv = conv.clone();
            match index {
                0 => {
                    let op = Conv2DBackpropFilter { filters_shape: *filters.shape(), conv };
                    apply(op, &[upstream, out_backprop]).map(Some)
                }
                _ => apply(conv, &[upstream, filters]).map(Some),
            }
        })
    }
}

/// Refuses a gradient that has not the shape of the output it belongs to.
pub(super) fn check_out_backprop(op: &str, out_backprop: &Shape, output: &Shape) -> Result<()> {
    if out_backprop == output {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: out_backprop is {out_backprop}, the output is {output}")))
}

/// The gradient of [`conv2d`](crate::nn::conv2d) with respect to its images of shape
/// `input_sizes`, from that with respect to its output. `tf.raw_ops.Conv2DBackpropInput`; as an op
/// of its own it is the transposed convolution.
///
/// [`Conv2DBackpropInput`] takes dilations besides.
///
/// # Errors
/// As for [`conv2d`](crate::nn::conv2d); an `out_backprop` of another shape than its output.
///
/// ```
/// use tapeflow_core::{DType, array, nn};
/// use tapeflow_core::nn::Padding;
///
/// let filters = array::ones([2, 2, 1, 1], DType::Float32)?;
/// let out_backprop = array::ones([1, 1, 2, 1], DType::Float32)?;
/// let gradient =
///     nn::conv2d_backprop_input([1, 2, 3, 1], &filters, &out_backprop, 1, Padding::Valid)?;
/// assert_eq!(gradient.to_vec::<f32>()?, [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn conv2d_backprop_input(
    input_sizes: impl Into<Shape>,
    filters: impl Into<Tensor>,
    out_backprop: impl Into<Tensor>,
    strides: impl Into<PerAxis>,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    let conv = Conv2D::new(strides, padding);
    let op = Conv2DBackpropInput { input_shape: input_sizes.into(), conv };
    apply(op, &[&filters.into(), &out_backprop.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::ones;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let filters = Tensor::from([[[0.5f64, -1.0], [2.0, 0.3]], [[1.0, 0.2], [-0.7, 1.5]]]);
        let filters = crate::ops::array::reshape(filters, [2, 2, 1, 2]).unwrap();
        let out_backprop = Tensor::from([0.1f64, 0.9, -0.4, 1.2, 0.6, -0.8, 0.7, 0.2]);
        let out_backprop = crate::ops::array::reshape(out_backprop, [1, 2, 2, 2]).unwrap();
        check_gradients(
            |x| conv2d_backprop_input([1, 3, 4, 1], &x[0], &x[1], 2, Padding::Same),
            &[filters, out_backprop],
        );
    }

    #[test]
    fn the_gradient_must_have_the_shape_of_the_output() {
        let of = |shape: [usize; 4]| ones(shape, DType::Float32).unwrap();
        let (filters, out_backprop) = (of([3, 3, 1, 2]), of([1, 4, 4, 2]));
        let error = conv2d_backprop_input([1, 4, 4, 1], filters, out_backprop, 1, Padding::Valid);
        assert_eq!(
            error.unwrap_err().to_string(),
            "nn.conv2d_backprop_input: out_backprop is [1, 4, 4, 2], the output is [1, 2, 2, 2]"
        );
    }
}
