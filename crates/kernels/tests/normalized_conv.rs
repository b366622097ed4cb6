//! Convolutions among normalisations at every level of the machine against the functions one after the
//! other: the same bits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "bits are compared here, not distances")]
mod common;
#[path = "common/geometry.rs"]
mod geometry;

use common::Random;
use geometry::{axis, random_conv, random_pool, same_conv};
use tapeflow_kernels::batch_norm::{
    Statistics, Upstream, normalize_grad, normalize_max_pool, normalize_relu,
};
use tapeflow_kernels::conv::normalized::{
    Input, Normalization, ResultGradient, ToImages, conv2d_backprop_normalized, conv2d_normalized,
    takes, takes_gradients,
};
use tapeflow_kernels::conv::{
    Conv2dGeometry, conv2d_at, conv2d_backprop_filter_at, conv2d_backprop_input_at,
};
use tapeflow_kernels::element::{Float, Number};
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::pool::Pool2dGeometry;
use tapeflow_kernels::simd::Level;

/// A shape that both ways take, with the gradient of the images or without.
fn taken(random: &mut Random, to_images: bool) -> Conv2dGeometry {
    let mut g = Conv2dGeometry { groups: 1, ..random_conv(random) };
    g.batch = random.below(12) + 8;
    g.out_c = 16 * (random.below(3) + 1);
    (g.dilation_h, g.dilation_w) = (random.below(2) + 1, random.below(2) + 1);
    let reach = |k: usize, dilation: usize| (k - 1) * dilation + 1;
    (g.out_h, g.pad_top) = axis(random, g.in_h, reach(g.k_h, g.dilation_h), g.stride_h);
    (g.out_w, g.pad_left) = axis(random, g.in_w, reach(g.k_w, g.dilation_w), g.stride_w);
    let fits = g.out_h > 0 && g.out_w > 0 && takes(&g) && takes_gradients(&g, to_images);
    if fits { g } else { taken(random, to_images) }
}

/// The numbers of a normalisation's channels.
struct Numbers<T>([Vec<T>; 4]);

impl<T: Float> Numbers<T> {
    fn new(random: &mut Random, channels: usize) -> Self {
        Self([0; 4].map(|_| random.values(channels)))
    }

    fn statistics(&self) -> Statistics<'_, T> {
        Statistics { mean: &self.0[2], inverse_deviation: &self.0[3] }
    }

    fn of<'a>(&'a self, x: &'a [T]) -> Normalization<'a, T> {
        let [scale, offset, ..] = &self.0;
        Normalization { x, statistics: self.statistics(), scale, offset }
    }
}

/// Values, among them some that are no numbers if asked for.
fn values<T: Float>(random: &mut Random, len: usize, odd: bool) -> Vec<T> {
    let mut values: Vec<T> = random.values(len);
    if odd && len > 0 {
        for value in [T::NAN, T::INFINITY, T::MIN, T::ZERO.neg()] {
            values[random.below(len)] = value;
        }
    }
    values
}

/// The same bits, but for NaN.
fn assert_same<T: Float>(got: &[T], expected: &[T], what: &str) {
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = bytemuck::bytes_of(got) == bytemuck::bytes_of(expected);
        let no_numbers = got.to_f64().is_nan() && expected.to_f64().is_nan();
        assert!(same || no_numbers, "{what}: at {index} got {got:?}, expected {expected:?}");
    }
}

/// A convolution with what stands before and behind it.
struct Layer<T> {
    g: Conv2dGeometry,
    pool: Pool2dGeometry,
    x: Vec<T>,
    filters: Vec<T>,
    before: Numbers<T>,
    behind: Numbers<T>,
    /// Instead of the convolution's result.
    conv: Vec<T>,
    dy: Vec<T>,
    sums: [Vec<T>; 2],
}

impl<T: Float + Number<Accumulator = T>> Layer<T> {
    fn new(random: &mut Random, g: Conv2dGeometry) -> Self {
        let odd = random.below(4) == 0;
        let (in_len, out_len) = (g.batch * g.in_image_len(), g.batch * g.out_image_len());
        Self {
            g,
            pool: random_pool(random, &g),
            x: values(random, in_len, odd),
            filters: random.values(g.filters_len()),
            before: Numbers::new(random, g.in_c),
            behind: Numbers::new(random, g.out_c),
            conv: values(random, out_len, odd),
            dy: values(random, out_len, odd),
            sums: [0; 2].map(|_| random.values(g.out_c)),
        }
    }

    fn normalized(&self, level: Level) -> Vec<T> {
        let Normalization { x, statistics, scale, offset } = self.before.of(&self.x);
        let mut normalized = self.x.clone();
        normalize_relu(level, x, statistics, scale, offset, &mut normalized).unwrap();
        normalized
    }

    fn compare(&self, level: Level) {
        let what = format!("y {level} {:?}", self.g);
        let [mut got, mut expected] = [&self.conv, &self.conv].map(Clone::clone);
        let x = self.before.of(&self.x);
        conv2d_normalized(level, &self.g, x, &self.filters, &mut got).unwrap();
        conv2d_at(level, &self.g, &self.normalized(level), &self.filters, &mut expected).unwrap();
        assert_same(&got, &expected, &what);
    }

    fn compare_gradients(&self, level: Level, to_images: bool) {
        let Self { pool, conv, dy, .. } = self;
        let ([scale, offset, ..], statistics) = (&self.behind.0, self.behind.statistics());
        let pooled_len = pool.batch * pool.out_image_len();
        let (mut pooled, mut places) = (vec![T::ZERO; pooled_len], vec![0; pooled_len]);
        normalize_max_pool(level, pool, conv, statistics, scale, offset, &mut pooled, &mut places)
            .unwrap();
        for upstream in [
            Upstream::Given(&dy[..]),
            Upstream::Relu { dy, scale, offset },
            Upstream::ReluMaxPool { dy: &pooled, places: &places, pool },
        ] {
            for sums in [None, Some(self.sums.each_ref().map(Vec::as_slice))] {
                let dy = ResultGradient { dy: upstream, x: conv, statistics, scale, sums };
                self.compare_gradients_of(level, dy, to_images);
            }
        }
    }

    fn compare_gradients_of(&self, level: Level, dy: ResultGradient<'_, T>, to_images: bool) {
        let Self { g, x, filters, .. } = self;
        let what = |name: &str| format!("{name} {level} {g:?} {:?}", self.pool);
        let mut dx = self.conv.clone();
        normalize_grad(level, dy.dy, dy.x, dy.statistics, dy.scale, dy.sums, &mut dx).unwrap();
        let normalized = self.normalized(level);
        for (input, images) in
            [(Input::Plain(&x[..]), x), (Input::NormalizedRelu(self.before.of(x)), &normalized)]
        {
            let (mut dfilters, mut dimages) = (filters.clone(), x.clone());
            let to = to_images.then_some(ToImages { filters, dimages: &mut dimages });
            conv2d_backprop_normalized(level, g, input, dy, &mut dfilters, to).unwrap();
            let (mut expected, mut expected_images) = (filters.clone(), x.clone());
            conv2d_backprop_filter_at(level, g, images, &dx, &mut expected).unwrap();
            assert_same(&dfilters, &expected, &what("filters"));
            if to_images {
                conv2d_backprop_input_at(level, g, &dx, filters, &mut expected_images).unwrap();
                assert_same(&dimages, &expected_images, &what("images"));
            }
        }
    }
}

fn compare<T: Float + Number<Accumulator = T>>(
    random: &mut Random,
    g: Conv2dGeometry,
    to_images: bool,
) {
    let layer = Layer::<T>::new(random, g);
    for level in Level::available() {
        layer.compare(level);
        layer.compare_gradients(level, to_images);
    }
}

#[test]
fn random_shapes() {
    let mut random = Random::new(61);
    for round in 0..40 {
        let to_images = round % 2 == 0;
        let g = taken(&mut random, to_images);
        compare::<f32>(&mut random, g, to_images);
        compare::<f64>(&mut random, g, to_images);
    }
}

#[test]
fn images_in_several_bands() {
    // The input gradient's, then the convolution's too.
    compare::<f32>(&mut Random::new(63), same_conv([8, 48, 3, 48]), true);
    compare::<f32>(&mut Random::new(64), same_conv([8, 44, 40, 16]), true);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random::new(62);
    let layer = Layer::<f32>::new(&mut random, same_conv([19, 9, 5, 32]));
    let Layer { g, x, filters, before, behind, conv, dy, .. } = &layer;
    let [scale, offset, ..] = &behind.0;
    let results = [1, 2, 3].map(|threads| {
        set_threads(threads);
        let level = Level::best();
        let [mut y, mut dfilters, mut dimages] = [conv, filters, x].map(Clone::clone);
        conv2d_normalized(level, g, before.of(x), filters, &mut y).unwrap();
        let statistics = behind.statistics();
        let dy = Upstream::Relu { dy, scale, offset };
        let dy = ResultGradient { dy, x: conv, statistics, scale, sums: None };
        let images = Input::NormalizedRelu(before.of(x));
        let to = Some(ToImages { filters, dimages: &mut dimages });
        conv2d_backprop_normalized(level, g, images, dy, &mut dfilters, to).unwrap();
        set_threads(0);
        [y, dfilters, dimages].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}
