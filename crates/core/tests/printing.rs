//! Tensors print as TensorFlow 2.21 with NumPy 2.4 prints them: the expected texts are its own.

use tapeflow_core::{Shape, Tensor, bf16, f16};

/// 0, 1, 2, ... as `float32`.
fn range(count: usize, shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let shape = Shape::new(shape).expect("the rank is small");
    Tensor::from_slice(&values, shape).expect("the values fill the shape")
}

fn integers(count: i32) -> Tensor {
    Tensor::from((0..count).collect::<Vec<i32>>())
}

fn thirds(count: usize) -> Tensor {
    Tensor::from((0..count).map(|i| i as f32 / 3.0).collect::<Vec<f32>>())
}

#[track_caller]
fn prints(tensor: Tensor, display: &str, debug: &str) {
    assert_eq!(tensor.to_string(), display);
    assert_eq!(format!("{tensor:?}"), debug);
}

#[test]
fn scalars_print_as_in_tensorflow() {
    prints(
        Tensor::from(3.0f32),
        r"tf.Tensor(3.0, shape=(), dtype=float32)",
        r"<tf.Tensor: shape=(), dtype=float32, numpy=3.0>",
    );
    prints(
        Tensor::from(std::f64::consts::PI),
        r"tf.Tensor(3.141592653589793, shape=(), dtype=float64)",
        r"<tf.Tensor: shape=(), dtype=float64, numpy=3.141592653589793>",
    );
    prints(
        Tensor::from(1e-7f32),
        r"tf.Tensor(1e-07, shape=(), dtype=float32)",
        r"<tf.Tensor: shape=(), dtype=float32, numpy=1.0000000116860974e-07>",
    );
    prints(
        Tensor::from(1e16f64),
        r"tf.Tensor(1e+16, shape=(), dtype=float64)",
        r"<tf.Tensor: shape=(), dtype=float64, numpy=1e+16>",
    );
    prints(
        Tensor::from(123456789.0f32),
        r"tf.Tensor(1.2345679e+08, shape=(), dtype=float32)",
        r"<tf.Tensor: shape=(), dtype=float32, numpy=123456792.0>",
    );
    prints(
        Tensor::from(1e17f64),
        r"tf.Tensor(1e+17, shape=(), dtype=float64)",
        r"<tf.Tensor: shape=(), dtype=float64, numpy=1e+17>",
    );
    prints(
        Tensor::from(f32::NAN),
        r"tf.Tensor(nan, shape=(), dtype=float32)",
        r"<tf.Tensor: shape=(), dtype=float32, numpy=nan>",
    );
    prints(
        Tensor::from(-0.0f32),
        r"tf.Tensor(-0.0, shape=(), dtype=float32)",
        r"<tf.Tensor: shape=(), dtype=float32, numpy=-0.0>",
    );
    prints(
        Tensor::from(true),
        r"tf.Tensor(True, shape=(), dtype=bool)",
        r"<tf.Tensor: shape=(), dtype=bool, numpy=True>",
    );
    prints(
        Tensor::from(-7i32),
        r"tf.Tensor(-7, shape=(), dtype=int32)",
        r"<tf.Tensor: shape=(), dtype=int32, numpy=-7>",
    );
}

#[test]
fn floats_print_as_in_tensorflow() {
    prints(
        Tensor::from([0.1f32, 0.25, -1.5]),
        r"tf.Tensor([ 0.1   0.25 -1.5 ], shape=(3,), dtype=float32)",
        r"<tf.Tensor: shape=(3,), dtype=float32, numpy=array([ 0.1 ,  0.25, -1.5 ], dtype=float32)>",
    );
    prints(
        Tensor::from([1e-10f32, 1.0, 1e10]),
        r"tf.Tensor([1.e-10 1.e+00 1.e+10], shape=(3,), dtype=float32)",
        r"<tf.Tensor: shape=(3,), dtype=float32, numpy=array([1.e-10, 1.e+00, 1.e+10], dtype=float32)>",
    );
    prints(
        Tensor::from([1e20f32, -3.5e-7]),
        r"tf.Tensor([ 1.0e+20 -3.5e-07], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([ 1.0e+20, -3.5e-07], dtype=float32)>",
    );
    prints(
        Tensor::from([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5]),
        r"tf.Tensor([ nan  inf -inf  1.5], shape=(4,), dtype=float32)",
        r"<tf.Tensor: shape=(4,), dtype=float32, numpy=array([ nan,  inf, -inf,  1.5], dtype=float32)>",
    );
    prints(
        Tensor::from([f32::NAN, f32::NAN]),
        r"tf.Tensor([nan nan], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([nan, nan], dtype=float32)>",
    );
    prints(
        Tensor::from([f32::NEG_INFINITY, 2.0]),
        r"tf.Tensor([-inf   2.], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([-inf,   2.], dtype=float32)>",
    );
    prints(
        Tensor::from([0.0001f32, 0.5]),
        r"tf.Tensor([1.e-04 5.e-01], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.e-04, 5.e-01], dtype=float32)>",
    );
    prints(
        Tensor::from([0.00009f32, 0.5]),
        r"tf.Tensor([9.e-05 5.e-01], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([9.e-05, 5.e-01], dtype=float32)>",
    );
    prints(
        Tensor::from([0.001f32, 1.001]),
        r"tf.Tensor([1.000e-03 1.001e+00], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.000e-03, 1.001e+00], dtype=float32)>",
    );
    prints(
        Tensor::from([0.001f32, 1000.0]),
        r"tf.Tensor([1.e-03 1.e+03], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.e-03, 1.e+03], dtype=float32)>",
    );
    prints(
        Tensor::from([0.001f32, 1001.0]),
        r"tf.Tensor([1.000e-03 1.001e+03], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.000e-03, 1.001e+03], dtype=float32)>",
    );
    prints(
        Tensor::from([1e8f32, 99999999.0]),
        r"tf.Tensor([1.e+08 1.e+08], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.e+08, 1.e+08], dtype=float32)>",
    );
    prints(
        Tensor::from([12345678.0f32, 0.5]),
        r"tf.Tensor([1.2345678e+07 5.0000000e-01], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.2345678e+07, 5.0000000e-01], dtype=float32)>",
    );
    prints(
        Tensor::from([1.0f64 / 3.0, 2.0 / 3.0, 1e-3]),
        r"tf.Tensor([0.33333333 0.66666667 0.001     ], shape=(3,), dtype=float64)",
        r"<tf.Tensor: shape=(3,), dtype=float64, numpy=array([0.33333333, 0.66666667, 0.001     ])>",
    );
    prints(
        Tensor::from([1.123456789012f64, 100.5]),
        r"tf.Tensor([  1.12345679 100.5       ], shape=(2,), dtype=float64)",
        r"<tf.Tensor: shape=(2,), dtype=float64, numpy=array([  1.12345679, 100.5       ])>",
    );
    prints(
        Tensor::from([1.0e300f64, 1.0e-300]),
        r"tf.Tensor([1.e+300 1.e-300], shape=(2,), dtype=float64)",
        r"<tf.Tensor: shape=(2,), dtype=float64, numpy=array([1.e+300, 1.e-300])>",
    );
    prints(
        Tensor::from([1.23456789e-5f64, 9.87654321]),
        r"tf.Tensor([1.23456789e-05 9.87654321e+00], shape=(2,), dtype=float64)",
        r"<tf.Tensor: shape=(2,), dtype=float64, numpy=array([1.23456789e-05, 9.87654321e+00])>",
    );
    prints(
        Tensor::from([0.0f32, -0.0]),
        r"tf.Tensor([ 0. -0.], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([ 0., -0.], dtype=float32)>",
    );
    prints(
        range(1, &[1, 1, 1, 1]),
        r"tf.Tensor([[[[0.]]]], shape=(1, 1, 1, 1), dtype=float32)",
        r"<tf.Tensor: shape=(1, 1, 1, 1), dtype=float32, numpy=array([[[[0.]]]], dtype=float32)>",
    );
    prints(
        Tensor::from([16777216.0f32, 1.0]),
        r"tf.Tensor([1.6777216e+07 1.0000000e+00], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.6777216e+07, 1.0000000e+00], dtype=float32)>",
    );
    prints(
        Tensor::from([1e-45f32, f32::MAX]),
        r"tf.Tensor([1.4012985e-45 3.4028235e+38], shape=(2,), dtype=float32)",
        r"<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1.4012985e-45, 3.4028235e+38], dtype=float32)>",
    );
    prints(
        Tensor::from([f64::NAN, 1e-5]),
        r"tf.Tensor([   nan 1.e-05], shape=(2,), dtype=float64)",
        r"<tf.Tensor: shape=(2,), dtype=float64, numpy=array([   nan, 1.e-05])>",
    );
    prints(
        Tensor::from([0.5f64, 1.0, 123456.789]),
        r"tf.Tensor([5.00000000e-01 1.00000000e+00 1.23456789e+05], shape=(3,), dtype=float64)",
        r"<tf.Tensor: shape=(3,), dtype=float64, numpy=array([5.00000000e-01, 1.00000000e+00, 1.23456789e+05])>",
    );
}

#[test]
fn integers_and_bools_print_as_in_tensorflow() {
    prints(
        Tensor::from([1i32, -20, 300]),
        r"tf.Tensor([  1 -20 300], shape=(3,), dtype=int32)",
        r"<tf.Tensor: shape=(3,), dtype=int32, numpy=array([  1, -20, 300], dtype=int32)>",
    );
    prints(
        Tensor::from([255u8, 0, 7]),
        r"tf.Tensor([255   0   7], shape=(3,), dtype=uint8)",
        r"<tf.Tensor: shape=(3,), dtype=uint8, numpy=array([255,   0,   7], dtype=uint8)>",
    );
    prints(
        Tensor::from([i8::MIN, i8::MAX]),
        r"tf.Tensor([-128  127], shape=(2,), dtype=int8)",
        r"<tf.Tensor: shape=(2,), dtype=int8, numpy=array([-128,  127], dtype=int8)>",
    );
    prints(
        Tensor::from([u64::MAX, 0]),
        r"tf.Tensor([18446744073709551615                    0], shape=(2,), dtype=uint64)",
        r"<tf.Tensor: shape=(2,), dtype=uint64, numpy=array([18446744073709551615,                    0], dtype=uint64)>",
    );
    prints(
        Tensor::from([true, false, true]),
        r"tf.Tensor([ True False  True], shape=(3,), dtype=bool)",
        r"<tf.Tensor: shape=(3,), dtype=bool, numpy=array([ True, False,  True])>",
    );
}

#[test]
fn nested_and_wrapped_print_as_in_tensorflow() {
    prints(
        Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]),
        r"tf.Tensor(
[[1. 2.]
 [3. 4.]], shape=(2, 2), dtype=float32)",
        r"<tf.Tensor: shape=(2, 2), dtype=float32, numpy=
array([[1., 2.],
       [3., 4.]], dtype=float32)>",
    );
    prints(
        Tensor::from([[1i64, 2], [-3, 4]]),
        r"tf.Tensor(
[[ 1  2]
 [-3  4]], shape=(2, 2), dtype=int64)",
        r"<tf.Tensor: shape=(2, 2), dtype=int64, numpy=
array([[ 1,  2],
       [-3,  4]])>",
    );
    prints(
        Tensor::from([[[1.0f32, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.5]]]),
        r"tf.Tensor(
[[[1.  2. ]
  [3.  4. ]]

 [[5.  6. ]
  [7.  8.5]]], shape=(2, 2, 2), dtype=float32)",
        r"<tf.Tensor: shape=(2, 2, 2), dtype=float32, numpy=
array([[[1. , 2. ],
        [3. , 4. ]],

       [[5. , 6. ],
        [7. , 8.5]]], dtype=float32)>",
    );
    prints(
        range(30, &[30]),
        r"tf.Tensor(
[ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14. 15. 16. 17.
 18. 19. 20. 21. 22. 23. 24. 25. 26. 27. 28. 29.], shape=(30,), dtype=float32)",
        r"<tf.Tensor: shape=(30,), dtype=float32, numpy=
array([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12.,
       13., 14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25.,
       26., 27., 28., 29.], dtype=float32)>",
    );
    prints(
        range(48, &[2, 24]),
        r"tf.Tensor(
[[ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14. 15. 16. 17.
  18. 19. 20. 21. 22. 23.]
 [24. 25. 26. 27. 28. 29. 30. 31. 32. 33. 34. 35. 36. 37. 38. 39. 40. 41.
  42. 43. 44. 45. 46. 47.]], shape=(2, 24), dtype=float32)",
        r"<tf.Tensor: shape=(2, 24), dtype=float32, numpy=
array([[ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12.,
        13., 14., 15., 16., 17., 18., 19., 20., 21., 22., 23.],
       [24., 25., 26., 27., 28., 29., 30., 31., 32., 33., 34., 35., 36.,
        37., 38., 39., 40., 41., 42., 43., 44., 45., 46., 47.]],
      dtype=float32)>",
    );
    prints(
        thirds(24),
        r"tf.Tensor(
[0.         0.33333334 0.6666667  1.         1.3333334  1.6666666
 2.         2.3333333  2.6666667  3.         3.3333333  3.6666667
 4.         4.3333335  4.6666665  5.         5.3333335  5.6666665
 6.         6.3333335  6.6666665  7.         7.3333335  7.6666665 ], shape=(24,), dtype=float32)",
        r"<tf.Tensor: shape=(24,), dtype=float32, numpy=
array([0.        , 0.33333334, 0.6666667 , 1.        , 1.3333334 ,
       1.6666666 , 2.        , 2.3333333 , 2.6666667 , 3.        ,
       3.3333333 , 3.6666667 , 4.        , 4.3333335 , 4.6666665 ,
       5.        , 5.3333335 , 5.6666665 , 6.        , 6.3333335 ,
       6.6666665 , 7.        , 7.3333335 , 7.6666665 ], dtype=float32)>",
    );
    prints(
        integers(40),
        r"tf.Tensor(
[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23
 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39], shape=(40,), dtype=int32)",
        r"<tf.Tensor: shape=(40,), dtype=int32, numpy=
array([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16,
       17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33,
       34, 35, 36, 37, 38, 39], dtype=int32)>",
    );
    prints(
        Tensor::from(vec![true; 30]),
        r"tf.Tensor(
[ True  True  True  True  True  True  True  True  True  True  True  True
  True  True  True  True  True  True  True  True  True  True  True  True
  True  True  True  True  True  True], shape=(30,), dtype=bool)",
        r"<tf.Tensor: shape=(30,), dtype=bool, numpy=
array([ True,  True,  True,  True,  True,  True,  True,  True,  True,
        True,  True,  True,  True,  True,  True,  True,  True,  True,
        True,  True,  True,  True,  True,  True,  True,  True,  True,
        True,  True,  True])>",
    );
    prints(
        Tensor::from([[0.1f32, 100.25], [-0.003, 7.0]]),
        r"tf.Tensor(
[[ 1.0000e-01  1.0025e+02]
 [-3.0000e-03  7.0000e+00]], shape=(2, 2), dtype=float32)",
        r"<tf.Tensor: shape=(2, 2), dtype=float32, numpy=
array([[ 1.0000e-01,  1.0025e+02],
       [-3.0000e-03,  7.0000e+00]], dtype=float32)>",
    );
    prints(
        Tensor::from([[1e-8f32, 1.0], [1e8, -1.0]]),
        r"tf.Tensor(
[[ 1.e-08  1.e+00]
 [ 1.e+08 -1.e+00]], shape=(2, 2), dtype=float32)",
        r"<tf.Tensor: shape=(2, 2), dtype=float32, numpy=
array([[ 1.e-08,  1.e+00],
       [ 1.e+08, -1.e+00]], dtype=float32)>",
    );
    prints(
        Tensor::from([[f32::NAN], [1e10]]),
        r"tf.Tensor(
[[   nan]
 [1.e+10]], shape=(2, 1), dtype=float32)",
        r"<tf.Tensor: shape=(2, 1), dtype=float32, numpy=
array([[   nan],
       [1.e+10]], dtype=float32)>",
    );
}

#[test]
fn truncated_print_as_in_tensorflow() {
    prints(
        range(1001, &[1001]),
        r"tf.Tensor([   0.    1.    2. ...  998.  999. 1000.], shape=(1001,), dtype=float32)",
        r"<tf.Tensor: shape=(1001,), dtype=float32, numpy=
array([   0.,    1.,    2., ...,  998.,  999., 1000.],
      shape=(1001,), dtype=float32)>",
    );
    prints(
        range(10000, &[100, 100]),
        r"tf.Tensor(
[[0.000e+00 1.000e+00 2.000e+00 ... 9.700e+01 9.800e+01 9.900e+01]
 [1.000e+02 1.010e+02 1.020e+02 ... 1.970e+02 1.980e+02 1.990e+02]
 [2.000e+02 2.010e+02 2.020e+02 ... 2.970e+02 2.980e+02 2.990e+02]
 ...
 [9.700e+03 9.701e+03 9.702e+03 ... 9.797e+03 9.798e+03 9.799e+03]
 [9.800e+03 9.801e+03 9.802e+03 ... 9.897e+03 9.898e+03 9.899e+03]
 [9.900e+03 9.901e+03 9.902e+03 ... 9.997e+03 9.998e+03 9.999e+03]], shape=(100, 100), dtype=float32)",
        r"<tf.Tensor: shape=(100, 100), dtype=float32, numpy=
array([[0.000e+00, 1.000e+00, 2.000e+00, ..., 9.700e+01, 9.800e+01,
        9.900e+01],
       [1.000e+02, 1.010e+02, 1.020e+02, ..., 1.970e+02, 1.980e+02,
        1.990e+02],
       [2.000e+02, 2.010e+02, 2.020e+02, ..., 2.970e+02, 2.980e+02,
        2.990e+02],
       ...,
       [9.700e+03, 9.701e+03, 9.702e+03, ..., 9.797e+03, 9.798e+03,
        9.799e+03],
       [9.800e+03, 9.801e+03, 9.802e+03, ..., 9.897e+03, 9.898e+03,
        9.899e+03],
       [9.900e+03, 9.901e+03, 9.902e+03, ..., 9.997e+03, 9.998e+03,
        9.999e+03]], shape=(100, 100), dtype=float32)>",
    );
    prints(
        range(2000, &[2, 1000]),
        r"tf.Tensor(
[[0.000e+00 1.000e+00 2.000e+00 ... 9.970e+02 9.980e+02 9.990e+02]
 [1.000e+03 1.001e+03 1.002e+03 ... 1.997e+03 1.998e+03 1.999e+03]], shape=(2, 1000), dtype=float32)",
        r"<tf.Tensor: shape=(2, 1000), dtype=float32, numpy=
array([[0.000e+00, 1.000e+00, 2.000e+00, ..., 9.970e+02, 9.980e+02,
        9.990e+02],
       [1.000e+03, 1.001e+03, 1.002e+03, ..., 1.997e+03, 1.998e+03,
        1.999e+03]], shape=(2, 1000), dtype=float32)>",
    );
    prints(
        integers(1200),
        r"tf.Tensor([   0    1    2 ... 1197 1198 1199], shape=(1200,), dtype=int32)",
        r"<tf.Tensor: shape=(1200,), dtype=int32, numpy=
array([   0,    1,    2, ..., 1197, 1198, 1199],
      shape=(1200,), dtype=int32)>",
    );
    prints(
        Tensor::from(vec![false; 1200]),
        r"tf.Tensor([False False False ... False False False], shape=(1200,), dtype=bool)",
        r"<tf.Tensor: shape=(1200,), dtype=bool, numpy=array([False, False, False, ..., False, False, False], shape=(1200,))>",
    );
}

#[test]
fn empty_print_as_in_tensorflow() {
    prints(
        range(0, &[0]),
        r"tf.Tensor([], shape=(0,), dtype=float32)",
        r"<tf.Tensor: shape=(0,), dtype=float32, numpy=array([], dtype=float32)>",
    );
    prints(
        range(0, &[2, 0, 3]),
        r"tf.Tensor([], shape=(2, 0, 3), dtype=float32)",
        r"<tf.Tensor: shape=(2, 0, 3), dtype=float32, numpy=array([], shape=(2, 0, 3), dtype=float32)>",
    );
    prints(
        range(0, &[0, 3]),
        r"tf.Tensor([], shape=(0, 3), dtype=float32)",
        r"<tf.Tensor: shape=(0, 3), dtype=float32, numpy=array([], shape=(0, 3), dtype=float32)>",
    );
}

#[test]
fn half_floats_print_as_in_tensorflow() {
    prints(
        Tensor::from([f16::from_f32(0.1), f16::from_f32(65504.0), f16::from_f32(-2.5)]),
        r"tf.Tensor([ 1.00e-01  6.55e+04 -2.50e+00], shape=(3,), dtype=float16)",
        r"<tf.Tensor: shape=(3,), dtype=float16, numpy=array([ 1.00e-01,  6.55e+04, -2.50e+00], dtype=float16)>",
    );
    prints(
        Tensor::from([f16::from_f32(0.333), f16::from_f32(1.5)]),
        r"tf.Tensor([0.333 1.5  ], shape=(2,), dtype=float16)",
        r"<tf.Tensor: shape=(2,), dtype=float16, numpy=array([0.333, 1.5  ], dtype=float16)>",
    );
    prints(
        Tensor::from(f16::from_f32(0.1)),
        r"tf.Tensor(0.1, shape=(), dtype=float16)",
        r"<tf.Tensor: shape=(), dtype=float16, numpy=0.0999755859375>",
    );
    prints(
        Tensor::from([bf16::from_f32(0.1), bf16::from_f32(1.0), bf16::from_f32(3.140625)]),
        r"tf.Tensor([0.100098 1 3.14062], shape=(3,), dtype=bfloat16)",
        r"<tf.Tensor: shape=(3,), dtype=bfloat16, numpy=array([0.100098, 1, 3.14062], dtype=bfloat16)>",
    );
    prints(
        Tensor::from(bf16::from_f32(0.1)),
        r"tf.Tensor(0.100098, shape=(), dtype=bfloat16)",
        r"<tf.Tensor: shape=(), dtype=bfloat16, numpy=0.10009765625>",
    );
    prints(
        Tensor::from([bf16::from_f32(1e10), bf16::from_f32(-1.0)]),
        r"tf.Tensor([9.99922e+09 -1], shape=(2,), dtype=bfloat16)",
        r"<tf.Tensor: shape=(2,), dtype=bfloat16, numpy=array([9.99922e+09, -1], dtype=bfloat16)>",
    );
    prints(
        Tensor::from([[bf16::from_f32(f32::NAN)], [bf16::from_f32(f32::INFINITY)]]),
        r"tf.Tensor(
[[nan]
 [inf]], shape=(2, 1), dtype=bfloat16)",
        r"<tf.Tensor: shape=(2, 1), dtype=bfloat16, numpy=
array([[nan],
       [inf]], dtype=bfloat16)>",
    );
}
