//! Convolution, bias, relu and max pooling as one op.

use tapeflow_kernels::conv::fused::{self, BiasRelu};
use tapeflow_kernels::pool::Pool2dGeometry;
use tapeflow_kernels::simd::Level;

use crate::ops::nn::conv2d::{DTYPES, no_scratch};
use crate::ops::nn::{Conv2D, Pool2D};
use crate::ops::prelude::*;

/// The most pixels of a pooling window: each has its number in a byte, and one is left over.
const MAX_WINDOW: usize = fused::NO_PLACE as usize;

/// [`conv2d`](crate::nn::conv2d), [`bias_add`](crate::nn::bias_add), [`relu`](crate::nn::relu) and
/// [`max_pool`](crate::nn::max_pool) in one pass, for NHWC. A graph's passes put it in the place of
/// the four; it can be applied by itself too.
///
/// The inputs are the images, the filters and the bias, one number for each output channel.
/// Without a pooling the only output is `y`. With one there is a second, `argmax`: `uint8` of `y`'s
/// shape, which says where in its window each maximum is, counted in row-major order, or 255 where
/// no gradient passes (relu gave 0). [`FusedPoolReluGrad`](crate::nn::FusedPoolReluGrad) and
/// [`FusedConv2DBackpropFilter`](crate::nn::FusedConv2DBackpropFilter) read it. The results are
/// those of the four ops.
///
/// It has no gradient, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::{Conv2D, FusedConv2D, Padding, Pool2D};
/// use tapeflow_core::{DType, Tensor, array};
///
/// let images = Tensor::from_slice(&[1.0f32, -5.0, 3.0, 4.0], [1, 2, 2, 1])?;
/// let filters = array::ones([1, 1, 1, 2], DType::Float32)?;
/// let op = FusedConv2D {
///     conv: Conv2D::new(1, Padding::Same),
///     relu: true,
///     pool: Some(Pool2D::new(2, 2, Padding::Same)),
/// };
/// let outputs = apply_all(op, &[&images, &filters, &Tensor::from([0.5f32, -4.0])])?;
/// assert_eq!(outputs[0].to_vec::<f32>()?, [4.5, 0.0]);
/// assert_eq!(outputs[1].to_vec::<u8>()?, [3, 255]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedConv2D {
    /// The convolution.
    pub conv: Conv2D,
    /// Whether relu follows the bias.
    pub relu: bool,
    /// The max pooling at the end, if there is one.
    pub pool: Option<Pool2D>,
}

impl Op for FusedConv2D {
    fn name(&self) -> &'static str {
        "nn.fused_conv2d"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (input, filters, bias) = (&inputs[0], &inputs[1], &inputs[2]);
        check_same_dtype(self.name(), input, filters)?;
        check_same_dtype(self.name(), input, bias)?;
        check_dtype(self.name(), "input", input.dtype, DTYPES)?;
        self.conv.kernel_geometry(self.name(), &input.shape, &filters.shape)?;
        let shape = self.conv.output_shape(self.name(), &input.shape, &filters.shape)?;
        if bias.shape.dims() != &shape[3..] {
            return Err(Error::shape(format!(
                "{}: the convolution has {} channels, bias is {}",
                self.name(),
                shape[3],
                bias.shape
            )));
        }
        let Some(pool) = &self.pool else {
            return Ok(vec![Spec { shape, ..*input }]);
        };
        let geometry = pool_geometry(self.name(), pool, &shape)?;
        let shape =
            Shape::from([geometry.batch, geometry.out_h, geometry.out_w, geometry.channels]);
        Ok(vec![Spec { shape, ..*input }, Spec { shape, dtype: DType::UInt8 }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (input, filters, bias) = (inputs[0], inputs[1], inputs[2]);
        let name = self.name();
        let conv = self.conv.kernel_geometry(name, input.shape(), filters.shape())?;
        let level = Level::best();
        dispatch!(product, input.dtype(), T => {
            let (x, filters) = (input.data::<T>(), filters.data::<T>());
            let epilogue = BiasRelu { bias: bias.data::<T>(), relu: self.relu };
            let done = match (&self.pool, outputs) {
                (Some(pool), [y, argmax]) => {
                    let shape = Shape::from([conv.batch, conv.out_h, conv.out_w, conv.out_c]);
                    let pool = pool_geometry(name, pool, &shape)?;
                    let (y, argmax) = (y.data::<T>(), argmax.data::<u8>());
                    fused::conv2d_bias_max_pool(
                        level, &conv, &pool, x, filters, epilogue, y, argmax,
                    )
                }
                (_, outputs) => {
                    let y = outputs[0].data::<T>();
                    fused::conv2d_bias(level, &conv, x, filters, epilogue, y)
                }
            };
            done.map_err(no_scratch(name))
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// The geometry of a pooling whose maxima have their places in bytes.
pub(super) fn pool_geometry(op: &str, pool: &Pool2D, input: &Shape) -> Result<Pool2dGeometry> {
    let geometry = pool.kernel_geometry(op, input)?;
    let Pool2dGeometry { k_h, k_w, .. } = geometry;
    if k_h.saturating_mul(k_w) > MAX_WINDOW {
        return Err(Error::unsupported(format!(
            "{op}: a window of {k_h} x {k_w} has more than {MAX_WINDOW} pixels"
        )));
    }
    Ok(geometry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::{cast, ones, reshape};
    use crate::ops::nn::{
        DataFormat, FusedConv2DBackpropFilter, FusedPoolReluGrad, Padding, bias_add, relu,
    };
    use crate::{GradientTape, UnconnectedGradients};

    /// Small whole numbers: sums are exact, and often equal.
    fn values(shape: [usize; 4], seed: usize, dtype: DType) -> Tensor {
        let len = shape.iter().product::<usize>();
        let values: Vec<f32> =
            (0..len).map(|i| ((i * 7 + seed) * 5 % 11 % 5) as f32 - 2.0).collect();
        cast(Tensor::from_slice(&values, shape).unwrap(), dtype).unwrap()
    }

    fn numbers(x: &Tensor) -> Vec<f64> {
        cast(x, DType::Float64).unwrap().to_vec::<f64>().unwrap()
    }

    /// Forward and gradients, by the fused ops and by the tape.
    fn compare(conv: Conv2D, pool: Pool2D, [h, w, in_c, out_c]: [usize; 4], dtype: DType) {
        let (x, filters) =
            (values([3, h, w, in_c], 1, dtype), values([3, 2, in_c, out_c], 2, dtype));
        let bias = reshape(values([1, 1, 1, out_c], 3, dtype), [-1]).unwrap();
        let tape = GradientTape::new();
        let pre = conv.clone().call(&x, &filters).unwrap();
        tape.watch(&pre);
        tape.watch(&bias);
        let post = relu(bias_add(&pre, &bias).unwrap()).unwrap();
        let y = pool.max_pool(&post).unwrap();
        let dy = values([0, 1, 2, 3].map(|axis| y.shape()[axis]), 4, dtype);
        let gradients =
            tape.gradient_with(&[&y], &[&dy], &[&pre, &bias], UnconnectedGradients::None).unwrap();
        let (d_pre, d_bias) = (gradients[0].as_ref().unwrap(), gradients[1].as_ref().unwrap());
        let op = crate::ops::nn::Conv2DBackpropFilter {
            filters_shape: *filters.shape(),
            conv: conv.clone(),
        };
        let d_filters = apply(op, &[&x, d_pre]).unwrap();

        let inputs = [&x, &filters, &bias];
        let op = FusedConv2D { conv: conv.clone(), relu: true, pool: None };
        assert_eq!(numbers(&apply(op, &inputs).unwrap()), numbers(&post));
        let op = FusedConv2D { conv: conv.clone(), relu: true, pool: Some(pool.clone()) };
        let pooled = apply_all(op, &inputs).unwrap();
        assert_eq!(numbers(&pooled[0]), numbers(&y));
        let op = FusedPoolReluGrad { input_shape: *pre.shape(), pool: pool.clone() };
        let got = apply_all(op, &[&dy, &pooled[1]]).unwrap();
        assert_eq!(numbers(&got[0]), numbers(d_pre));
        assert_eq!(numbers(&got[1]), numbers(d_bias));
        let op = FusedConv2DBackpropFilter { filters_shape: *filters.shape(), conv, pool };
        let got = apply_all(op, &[&x, &dy, &pooled[1]]).unwrap();
        assert_eq!(numbers(&got[0]), numbers(&d_filters));
        assert_eq!(numbers(&got[1]), numbers(d_bias));
    }

    #[test]
    fn the_same_as_one_op_after_the_other() {
        let conv = Conv2D::new(1, Padding::Same);
        let pool = Pool2D::new(2, 2, Padding::Same);
        compare(conv.clone(), pool.clone(), [7, 8, 2, 20], DType::Float32);
        compare(conv.clone(), Pool2D::new(3, 2, Padding::Valid), [7, 8, 2, 5], DType::Float32);
        compare(Conv2D::new(2, Padding::Valid), pool.clone(), [9, 9, 1, 17], DType::Float64);
        for dtype in [DType::Float16, DType::BFloat16] {
            compare(conv.clone(), pool.clone(), [4, 5, 1, 3], dtype);
        }
    }

    #[test]
    fn refusals_name_the_argument() {
        let of = |shape: [usize; 4]| ones(shape, DType::Float32).unwrap();
        let (x, filters) = (of([1, 30, 30, 1]), of([3, 3, 1, 4]));
        let bias = ones([4], DType::Float32).unwrap();
        let refusal = |conv: Conv2D, pool: Option<Pool2D>, bias: &Tensor| {
            let op = FusedConv2D { conv, relu: true, pool };
            apply_all(op, &[&x, &filters, bias]).unwrap_err().to_string()
        };
        let same = Conv2D::new(1, Padding::Same);
        assert_eq!(
            refusal(same.clone(), None, &ones([3], DType::Float32).unwrap()),
            "nn.fused_conv2d: the convolution has 4 channels, bias is [3]"
        );
        assert_eq!(
            refusal(same.clone(), Some(Pool2D::new(16, 16, Padding::Same)), &bias),
            "nn.fused_conv2d: a window of 16 x 16 has more than 255 pixels"
        );
        let nchw = Conv2D { data_format: DataFormat::Nchw, ..same };
        assert_eq!(refusal(nchw, None, &bias), "nn.fused_conv2d: NCHW runs between transposes");
    }
}
