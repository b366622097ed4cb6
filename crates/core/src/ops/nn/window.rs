//! What convolution and pooling share: the arguments that say how a window moves over an image,
//! and the extents that follow from them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::ops::array::transpose;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Where the channels stand among a tensor's axes.
///
/// ```
/// use tapeflow_core::nn::DataFormat;
///
/// assert_eq!("NCHW".parse::<DataFormat>()?, DataFormat::Nchw);
/// assert_eq!("N..C".parse::<DataFormat>()?, DataFormat::Nhwc);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DataFormat {
    /// Batch, height, width, channels: channels last.
    #[default]
    Nhwc,
    /// Batch, channels, height, width: channels first after the batch.
    Nchw,
}

impl DataFormat {
    /// The axes of height and width among four.
    pub(super) fn spatial_axes(self) -> [usize; 2] {
        match self {
            DataFormat::Nhwc => [1, 2],
            DataFormat::Nchw => [2, 3],
        }
    }

    /// The axis of the channels among `rank`, which is at least 2.
    pub(super) fn channel_axis(self, rank: usize) -> usize {
        match self {
            DataFormat::Nhwc => rank - 1,
            DataFormat::Nchw => 1,
        }
    }

    /// The permutation that brings four axes into the order of NHWC.
    pub(super) fn to_nhwc(self) -> [i64; 4] {
        match self {
            DataFormat::Nhwc => [0, 1, 2, 3],
            DataFormat::Nchw => [0, 2, 3, 1],
        }
    }

    /// The permutation that brings the axes of NHWC into the order of this format.
    pub(super) fn order_from_nhwc(self) -> [i64; 4] {
        match self {
            DataFormat::Nhwc => [0, 1, 2, 3],
            DataFormat::Nchw => [0, 3, 1, 2],
        }
    }

    /// Batch, height, width and channels of `shape`, which has four axes.
    pub(super) fn image(self, shape: &Shape) -> [usize; 4] {
        self.to_nhwc().map(|axis| shape[axis as usize])
    }

    /// The shape in this format of an image whose extents are given in the order of NHWC.
    pub(super) fn shape(self, nhwc: [usize; 4]) -> Shape {
        Shape::from(self.order_from_nhwc().map(|axis| nhwc[axis as usize]))
    }
}

impl fmt::Display for DataFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DataFormat::Nhwc => "NHWC",
            DataFormat::Nchw => "NCHW",
        })
    }
}

impl FromStr for DataFormat {
    type Err = Error;

    /// Reads `N...C` and `NC...` with whatever TensorFlow lets stand for the dots.
    fn from_str(text: &str) -> Result<DataFormat> {
        match text {
            _ if text.starts_with("NC") => Ok(DataFormat::Nchw),
            _ if text.starts_with('N') && text.ends_with('C') => Ok(DataFormat::Nhwc),
            _ => Err(Error::invalid_argument(format!(
                "data_format must be of the form N...C or NC..., is {text:?}"
            ))),
        }
    }
}

/// What surrounds an image before a window moves over it.
///
/// ```
/// use tapeflow_core::nn::Padding;
///
/// assert_eq!("SAME".parse::<Padding>()?, Padding::Same);
/// assert!("same".parse::<Padding>().is_err());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// As much as makes the output `ceil(input / stride)` long; the odd one goes at the end.
    Same,
    /// None: the output is `ceil((input - window + 1) / stride)` long.
    Valid,
    /// So much before and after each axis, in the order of the data format; none on the axes of
    /// batch and channels.
    Explicit([[i64; 2]; 4]),
}

impl Padding {
    /// The same padding for images in NHWC.
    pub(super) fn to_nhwc(self, format: DataFormat) -> Padding {
        match self {
            Padding::Explicit(pads) => {
                Padding::Explicit(format.to_nhwc().map(|axis| pads[axis as usize]))
            }
            padding => padding,
        }
    }
}

impl FromStr for Padding {
    type Err = Error;

    /// Reads `SAME` or `VALID`.
    fn from_str(text: &str) -> Result<Padding> {
        match text {
            "SAME" => Ok(Padding::Same),
            "VALID" => Ok(Padding::Valid),
            _ => Err(Error::invalid_argument(format!(
                "padding must be SAME, VALID or explicit, is {text:?}"
            ))),
        }
    }
}

impl TryFrom<&str> for Padding {
    type Error = Error;

    fn try_from(text: &str) -> Result<Padding> {
        text.parse()
    }
}

impl From<[[i64; 2]; 4]> for Padding {
    fn from(pads: [[i64; 2]; 4]) -> Padding {
        Padding::Explicit(pads)
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Padding::Same => f.write_str("SAME"),
            Padding::Valid => f.write_str("VALID"),
            Padding::Explicit(pads) => fmt::Debug::fmt(pads, f),
        }
    }
}

/// A stride, dilation or window size: a number for height and width alike, or a list of one, two
/// (height and width) or four (every axis in the order of the data format).
///
/// ```
/// use tapeflow_core::nn::PerAxis;
///
/// assert_eq!(PerAxis::from(2), PerAxis::from([2]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PerAxis(Vec<i64>);

impl PerAxis {
    /// Height and width, at least 1 each. `what` names the argument of `op`.
    pub(super) fn spatial(&self, op: &str, what: &str, format: DataFormat) -> Result<[usize; 2]> {
        let list = &self.0;
        let refuse = |why: &str| {
            Err(Error::invalid_argument(format!("{op}: {what} {list:?} {format}: {why}")))
        };
        let [height, width] = match **list {
            [both] => [both, both],
            [height, width] => [height, width],
            [_, _, _, _] => format.spatial_axes().map(|axis| list[axis]),
            _ => return refuse("must be of length 1, 2 or 4"),
        };
        if list.len() == 4 && (list[0] != 1 || list[format.channel_axis(4)] != 1) {
            return refuse("must be 1 on the axes of batch and channels");
        }
        match (usize::try_from(height), usize::try_from(width)) {
            (Ok(height @ 1..), Ok(width @ 1..)) => Ok([height, width]),
            _ => refuse("must be positive"),
        }
    }

    /// The same numbers for images in NHWC.
    pub(super) fn to_nhwc(&self, op: &str, what: &str, format: DataFormat) -> Result<PerAxis> {
        let [height, width] = self.spatial(op, what, format)?;
        Ok(PerAxis(vec![height as i64, width as i64]))
    }
}

impl Default for PerAxis {
    /// 1 everywhere.
    fn default() -> PerAxis {
        PerAxis::from(1)
    }
}

impl From<i64> for PerAxis {
    fn from(both: i64) -> PerAxis {
        PerAxis(vec![both])
    }
}

impl<const N: usize> From<[i64; N]> for PerAxis {
    fn from(list: [i64; N]) -> PerAxis {
        PerAxis(list.to_vec())
    }
}

impl From<&[i64]> for PerAxis {
    fn from(list: &[i64]) -> PerAxis {
        PerAxis(list.to_vec())
    }
}

impl From<Vec<i64>> for PerAxis {
    fn from(list: Vec<i64>) -> PerAxis {
        PerAxis(list)
    }
}

/// `x`, which has four axes, with its axes in another order.
pub(super) fn permute(x: &Tensor, axes: [i64; 4]) -> Result<Tensor> {
    transpose(x, axes)
}

/// How a window moves along one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    /// Extent of the image.
    pub input: usize,
    /// Taps of the window.
    pub window: usize,
    /// Distance between two taps.
    pub dilation: usize,
    /// Distance between two positions of the window.
    pub stride: usize,
}

impl Sweep {
    /// The number of positions and the padding before the first element; none where a number is
    /// beyond what can be addressed or the window does not fit.
    fn resolve(&self, padding: Option<[usize; 2]>) -> Option<(usize, usize)> {
        let &Sweep { input, window, dilation, stride } = self;
        // Below isize::MAX every sum of two is a usize, and offsets can be signed.
        let bounded = |n: usize| (n <= isize::MAX as usize).then_some(n);
        let reach = (window - 1).checked_mul(dilation).and_then(|n| bounded(n.checked_add(1)?))?;
        bounded(input)?;
        let Some([before, after]) = padding else {
            let output = input.div_ceil(stride);
            let last = output.saturating_sub(1).checked_mul(stride)?;
            let total = bounded(last)?.checked_add(reach)?.saturating_sub(input);
            return Some((output, bounded(total)? / 2));
        };
        let padded = bounded(input.checked_add(before)?.checked_add(after)?)?;
        // TensorFlow's (padded - reach + stride) / stride in C++, which rounds towards zero: a
        // window that sticks out by less than two strides has no position, more is refused.
        match (padded + bounded(stride)?).checked_sub(reach) {
            Some(room) => Some((room / stride, before)),
            None if reach - padded - stride < stride => Some((0, before)),
            None => None,
        }
    }
}

/// Positions of the window along height and width, and the padding before each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Positions {
    /// Extents of the output.
    pub output: [usize; 2],
    /// Padding above and to the left.
    pub before: [usize; 2],
}

/// The extents that follow from how a window moves along height and width.
pub(super) fn positions(
    op: &str,
    sweeps: [Sweep; 2],
    padding: Padding,
    format: DataFormat,
) -> Result<Positions> {
    let pads = spatial_pads(op, padding, format)?;
    let mut positions = Positions { output: [0; 2], before: [0; 2] };
    for (i, sweep) in sweeps.into_iter().enumerate() {
        let Some((output, before)) = sweep.resolve(pads.map(|pads| pads[i])) else {
            let Sweep { input, window, dilation, stride } = sweep;
            return Err(Error::shape(format!(
                "{op}: a window of {window} with dilation {dilation} and stride {stride} does not \
                 fit {} {input}, padding {padding}",
                ["height", "width"][i],
            )));
        };
        positions.output[i] = output;
        positions.before[i] = before;
    }
    Ok(positions)
}

/// The distance between neighbours among `count`, and 1 where there are no two: a number that says
/// nothing may be of any size, and kernels are to be spared it.
pub(super) fn distance(count: usize, distance: usize) -> usize {
    if count > 1 { distance } else { 1 }
}

/// The padding before and after height and width; none for SAME, which follows from the extents.
fn spatial_pads(op: &str, padding: Padding, format: DataFormat) -> Result<Option<[[usize; 2]; 2]>> {
    let pads = match padding {
        Padding::Same => return Ok(None),
        Padding::Valid => return Ok(Some([[0; 2]; 2])),
        Padding::Explicit(pads) => pads,
    };
    if pads[0] != [0, 0] || pads[format.channel_axis(4)] != [0, 0] {
        return Err(Error::invalid_argument(format!(
            "{op}: padding {pads:?} {format}: the axes of batch and channels take none"
        )));
    }
    let [height, width] = format.spatial_axes().map(|axis| pads[axis].map(usize::try_from));
    match [height, width] {
        [[Ok(top), Ok(bottom)], [Ok(left), Ok(right)]] => Ok(Some([[top, bottom], [left, right]])),
        _ => Err(Error::invalid_argument(format!("{op}: padding {pads:?} is negative"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn along(input: usize, window: usize, stride: usize, padding: Padding) -> Result<Positions> {
        let sweep = Sweep { input, window, dilation: 1, stride };
        positions("op", [sweep; 2], padding, DataFormat::Nhwc)
    }

    #[test]
    fn same_and_valid_follow_the_formulas() {
        for input in 1..20usize {
            for window in 1..8 {
                for stride in 1..6 {
                    let same = along(input, window, stride, Padding::Same).unwrap();
                    assert_eq!(same.output[0], input.div_ceil(stride));
                    let valid = along(input, window, stride, Padding::Valid);
                    if input >= window {
                        let output = (input - window + 1).div_ceil(stride);
                        assert_eq!(valid.unwrap().output[0], output);
                    } else if let Ok(valid) = valid {
                        assert_eq!(valid.output[0], 0);
                    }
                }
            }
        }
    }

    #[test]
    fn the_odd_padding_goes_to_the_end() {
        assert_eq!(along(5, 2, 1, Padding::Same).unwrap().before, [0, 0]);
        assert_eq!(along(5, 4, 1, Padding::Same).unwrap().before, [1, 1]);
        let pads = Padding::Explicit([[0, 0], [1, 2], [3, 0], [0, 0]]);
        let explicit = along(8, 3, 1, pads).unwrap();
        assert_eq!((explicit.output, explicit.before), ([9, 9], [1, 3]));
    }

    #[test]
    fn a_window_beyond_the_image_is_refused() {
        let error = along(8, 201, 1, Padding::Valid).unwrap_err();
        assert_eq!(
            error.to_string(),
            "op: a window of 201 with dilation 1 and stride 1 does not fit height 8, padding VALID"
        );
    }

    #[test]
    fn hostile_numbers_are_errors_or_empty() {
        let large = [1, 2, usize::MAX / 2, isize::MAX as usize, usize::MAX - 1, usize::MAX];
        for input in large {
            for window in large {
                for dilation in large {
                    for stride in large {
                        let sweep = Sweep { input, window, dilation, stride };
                        for pads in [None, Some([0, 0]), Some([usize::MAX, 1]), Some([1, 7])] {
                            if let Some((output, before)) = sweep.resolve(pads) {
                                assert!(output <= isize::MAX as usize + 1);
                                assert!(before <= isize::MAX as usize);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn lists_have_one_two_or_four_numbers() {
        let spatial = |list: &[i64], format| PerAxis::from(list).spatial("op", "strides", format);
        assert_eq!(spatial(&[3], DataFormat::Nhwc).unwrap(), [3, 3]);
        assert_eq!(spatial(&[3, 2], DataFormat::Nchw).unwrap(), [3, 2]);
        assert_eq!(spatial(&[1, 3, 2, 1], DataFormat::Nhwc).unwrap(), [3, 2]);
        assert_eq!(spatial(&[1, 1, 3, 2], DataFormat::Nchw).unwrap(), [3, 2]);
        for (list, why) in [
            (&[1, 2, 3][..], "must be of length 1, 2 or 4"),
            (&[], "must be of length 1, 2 or 4"),
            (&[2, 2, 2, 2], "must be 1 on the axes of batch and channels"),
            (&[0], "must be positive"),
            (&[1, -1], "must be positive"),
        ] {
            let error = spatial(list, DataFormat::Nhwc).unwrap_err();
            assert_eq!(error.to_string(), format!("op: strides {list:?} NHWC: {why}"));
        }
    }

    #[test]
    fn explicit_padding_leaves_batch_and_channels_alone() {
        let refuse = |pads| along(8, 3, 1, Padding::Explicit(pads)).unwrap_err().to_string();
        assert!(refuse([[1, 0], [0; 2], [0; 2], [0; 2]]).contains("batch and channels take none"));
        assert!(refuse([[0; 2], [-1, 0], [0; 2], [0; 2]]).contains("is negative"));
    }
}
