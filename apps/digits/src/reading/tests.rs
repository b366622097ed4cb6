use tapeflow::datasets::mnist;
use tapeflow_testing::mutation;

use super::candidates::find;
use super::gray::Gray;
use super::*;

const IMAGES: usize = 300;

fn test_images() -> Vec<Image> {
    let (_, (images, _)) = mnist::load_data().unwrap();
    let images = images.as_slice::<u8>().unwrap();
    images.as_chunks::<784>().0[..IMAGES].to_vec()
}

/// An image enlarged `times`, smoothly, somewhere on a page, dark on light or light on dark.
fn page(image: &Image, times: usize, (right, down): (usize, usize), dark: bool) -> Gray {
    let side = 28 * times;
    let (width, height) = (side + 90, side + 70);
    let mut pixels = vec![0; width * height];
    let at = |x: isize, y: isize| {
        let inside = (0..28).contains(&x) && (0..28).contains(&y);
        if inside { f32::from(image[y as usize * 28 + x as usize]) } else { 0.0 }
    };
    for y in 0..side {
        for x in 0..side {
            let place = |at: usize| (at as f32 + 0.5) / times as f32 - 0.5;
            let (left, top) = (place(x).floor(), place(y).floor());
            let (across, along) = (place(x) - left, place(y) - top);
            let (left, top) = (left as isize, top as isize);
            let above = at(left, top) * (1.0 - across) + at(left + 1, top) * across;
            let below = at(left, top + 1) * (1.0 - across) + at(left + 1, top + 1) * across;
            let level = above * (1.0 - along) + below * along;
            pixels[(y + down) * width + x + right] = level.round() as u8;
        }
    }
    let page = Gray { width, height, pixels };
    if dark { page.inverted() } else { page }
}

#[test]
fn mnist_digits_enlarged_and_moved_come_back() {
    let mut offs = Vec::new();
    for (i, image) in test_images().iter().enumerate() {
        let place = (i * 7 % 80, i * 5 % 60);
        let found = find(page(image, 3 + i % 4, place, i % 2 == 0));
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1], "image {i}");
        let mut back = Vec::new();
        found[0][0].images(&mut back);
        let off: f32 =
            image.iter().zip(&back[0]).map(|(&a, &b)| f32::from(a.abs_diff(b)).powi(2)).sum();
        let all: f32 = image.iter().map(|&a| f32::from(a).powi(2)).sum();
        offs.push((off / all).sqrt());
    }
    offs.sort_by(f32::total_cmp);
    // Smooth enlarging blurs the strokes, so they do not come back quite the same.
    let (median, most) = (offs[IMAGES / 2], offs[IMAGES * 19 / 20]);
    assert!(median < 0.25 && most < 0.6, "off by {median} in the median, {most} at 95 %");
}

#[test]
fn an_image_like_mnists_is_read_as_it_is() {
    for image in &test_images()[..50] {
        for dark in [false, true] {
            let picture = Gray { width: 28, height: 28, pixels: image.to_vec() };
            let found = find(if dark { picture.inverted() } else { picture });
            let mut back = Vec::new();
            found[0][0].images(&mut back);
            assert_eq!(back, [*image]);
        }
    }
}

fn digits_in(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> usize {
    let pixels = (0..width * height).map(|i| pixel(i % width, i / width)).collect();
    find(Gray { width, height, pixels }).iter().map(Vec::len).sum()
}

/// A number from 0 to 255 that looks random.
fn hash(x: usize, y: usize) -> u8 {
    let mut z = (x as u64) << 32 | y as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u8
}

#[test]
fn where_there_is_no_digit_none_is_found() {
    for level in [0, 128, 255] {
        assert_eq!(digits_in(200, 150, |_, _| level), 0, "all of {level}");
        assert_eq!(digits_in(28, 28, |_, _| level), 0, "all of {level}, small");
    }
    assert_eq!(digits_in(300, 200, hash), 0, "noise");
    assert_eq!(digits_in(300, 200, |x, y| 200 + hash(x, y) / 8), 0, "grainy paper");
    assert_eq!(digits_in(300, 200, |x, y| (x / 2 + y / 3 + 20) as u8), 0, "a slope of light");
    let ruled = |x: usize, y: usize| if y % 20 < 2 || x == 30 { 120 } else { 240 };
    assert_eq!(digits_in(300, 200, ruled), 0, "ruled paper");
    let squared = |x: usize, y: usize| if y % 15 < 1 || x % 15 < 1 { 150 } else { 240 };
    assert_eq!(digits_in(300, 200, squared), 0, "squared paper");
    let frame = |x: usize, y: usize| if x < 20 || y < 9 || x > 280 || y > 185 { 30 } else { 230 };
    assert_eq!(digits_in(300, 200, frame), 0, "a sheet on a dark table");
    for (width, height) in [(1, 1), (1, 500), (500, 1), (2, 3), (64, 65)] {
        assert_eq!(digits_in(width, height, |_, _| 255), 0, "{width}x{height}");
    }
}

#[test]
fn a_stroke_on_a_shaded_sheet_is_found() {
    let stroke = |x: usize, y: usize| x.abs_diff(150 - y / 10) < 4 && (60..140).contains(&y);
    let shaded = |x: usize, y: usize| {
        let light = 90 + x / 2;
        (if stroke(x, y) { light * 4 / 10 } else { light }) as u8
    };
    assert_eq!(digits_in(300, 200, shaded), 1);
    assert_eq!(digits_in(300, 200, |x, y| !shaded(x, y)), 1);
}

#[test]
fn damaged_pictures_are_read_or_refused() {
    let model = Model::new(crate::cli::ModelName::Fast, 0).unwrap();
    let page = page(&test_images()[0], 3, (10, 10), true);
    let mut valid = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_raw(page.width as u32, page.height as u32, page.pixels)
        .unwrap()
        .write_to(&mut valid, image::ImageFormat::Jpeg)
        .unwrap();
    let valid = valid.into_inner();
    assert_eq!(read(&model, &valid).unwrap().digits().count(), 1);
    let mut answers = 0;
    mutation::for_each(&valid, 150, |bytes| answers += usize::from(read(&model, bytes).is_ok()));
    assert!(answers > 10, "only {answers} were read");
}
