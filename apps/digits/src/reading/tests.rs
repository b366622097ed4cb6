use tapeflow::datasets::mnist;
use tapeflow_testing::{SplitMix, mutation};

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
        let found = find(page(image, 3 + i % 4, place, i % 2 == 0)).lines;
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1], "image {i}");
        offs.push(off(image, &images(&found[0][0])[0]));
    }
    assert_nearly_the_same(offs);
}

#[test]
fn an_image_like_mnists_is_read_as_it_is() {
    for image in &test_images()[..50] {
        for dark in [false, true] {
            let picture = Gray { width: 28, height: 28, pixels: image.to_vec() };
            let found = find(if dark { picture.inverted() } else { picture }).lines;
            assert_eq!(images(&found[0][0]), [*image]);
        }
    }
}

/// The part of an image that has ink, with so many pixels of paper around.
fn cropped(image: &Image, margin: usize) -> Gray {
    let inked = |of: fn(usize, usize) -> usize, i: usize| (0..28).any(|j| image[of(i, j)] > 0);
    let across: Vec<usize> = (0..28).filter(|&x| inked(|x, y| y * 28 + x, x)).collect();
    let down: Vec<usize> = (0..28).filter(|&y| inked(|y, x| y * 28 + x, y)).collect();
    let (width, height) =
        (across[across.len() - 1] + 1 - across[0], down[down.len() - 1] + 1 - down[0]);
    let (wide, tall) = (width + 2 * margin, height + 2 * margin);
    let mut pixels = vec![0; wide * tall];
    for y in 0..height {
        let row = &image[(down[0] + y) * 28 + across[0]..][..width];
        pixels[(y + margin) * wide + margin..][..width].copy_from_slice(row);
    }
    Gray { width: wide, height: tall, pixels }
}

#[test]
fn digits_cropped_to_their_ink_come_back() {
    let mut offs = Vec::new();
    for (i, image) in test_images().iter().enumerate() {
        let (margin, times) = (i % 3, [1, 3, 8][i / 3 % 3]);
        let crop = cropped(image, margin);
        let (width, height) = (crop.width * times, crop.height * times);
        let pixel = |i: usize| crop.pixels[i / width / times * crop.width + i % width / times];
        let large = Gray { width, height, pixels: (0..width * height).map(pixel).collect() };
        let found = find(if i % 2 == 0 { large } else { large.inverted() }).lines;
        if found.iter().map(Vec::len).collect::<Vec<_>>() != [1] {
            offs.push(1.0);
            continue;
        }
        offs.push(off(image, &images(&found[0][0])[0]));
    }
    assert_nearly_the_same(offs);
}

/// How far all images are from those they were made of: enlarging blurs the strokes, so they do not come
/// back quite the same.
fn assert_nearly_the_same(mut offs: Vec<f32>) {
    offs.sort_by(f32::total_cmp);
    let (median, most) = (offs[IMAGES / 2], offs[IMAGES * 19 / 20]);
    assert!(median < 0.25 && most < 0.6, "off by {median} in the median, {most} at 95 %");
}

/// The images of a candidate.
fn images(candidate: &Candidate) -> Vec<Image> {
    let mut images = Vec::new();
    candidate.images(&mut images);
    images
}

/// How far an image is from the one it was made of, as a part of that.
fn off(image: &Image, back: &Image) -> f32 {
    let off: f32 = image.iter().zip(back).map(|(&a, &b)| f32::from(a.abs_diff(b)).powi(2)).sum();
    let all: f32 = image.iter().map(|&a| f32::from(a).powi(2)).sum();
    (off / all).sqrt()
}

#[test]
fn whatever_is_drawn_is_searched_and_boxes_lie_within() {
    let mut random = SplitMix::new(4);
    for _ in 0..400 {
        let most = [4, 20, 70, 200][random.below(4)];
        let (width, height) = (1 + random.below(most), 1 + random.below(most));
        let mut pixels = vec![random.below(256) as u8; width * height];
        for _ in 0..random.below(9) {
            let (left, top) = (random.below(width), random.below(height));
            let (wide, tall) = (random.below(width), random.below(height));
            let (step, shade) = (1 + random.below(4), random.below(256) as u8);
            for y in (top..(top + tall).min(height)).step_by(step) {
                pixels[y * width + left..y * width + (left + wide).min(width)].fill(shade);
            }
        }
        for _ in 0..random.below(2) * random.below(width * height) {
            pixels[random.below(width * height)] = random.below(256) as u8;
        }
        let found = find(Gray { width, height, pixels });
        let images = found.images().len();
        let reading = found.read(&vec![0.1; CLASSES * images]);
        for Digit { area, .. } in reading.digits() {
            assert!(area.left < area.right && area.right <= width, "{area:?} in {width}x{height}");
            assert!(
                area.top < area.bottom && area.bottom <= height,
                "{area:?} in {width}x{height}"
            );
        }
    }
}

fn digits_in(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> usize {
    let pixels = (0..width * height).map(|i| pixel(i % width, i / width)).collect();
    find(Gray { width, height, pixels }).lines.iter().map(Vec::len).sum()
}

/// A number from 0 to 255 that looks random.
fn hash(x: usize, y: usize) -> u8 {
    SplitMix::new((x as u64) << 32 | y as u64).bits() as u8
}

/// Draws the digit of an image enlarged, in a shade; gives where it is.
fn draw(
    picture: &mut Gray,
    image: &Image,
    times: usize,
    (left, top): (usize, usize),
    shade: u8,
) -> Area {
    let digit = cropped(image, 0);
    let (wide, tall) = (digit.width * times, digit.height * times);
    for y in 0..tall {
        for x in 0..wide {
            let level = u32::from(digit.pixels[y / times * digit.width + x / times]);
            let pixel = &mut picture.pixels[(y + top) * picture.width + x + left];
            let mixed = u32::from(*pixel) * (255 - level) + u32::from(shade) * level;
            *pixel = (mixed / 255) as u8;
        }
    }
    Area { left, top, right: left + wide, bottom: top + tall }
}

/// Digits must be found where they were drawn, from left to right, and nothing else.
fn assert_found(picture: Gray, drawn: &[Area]) {
    let found = find(picture);
    let images = found.images().len();
    let reading = found.read(&vec![0.1; CLASSES * images]);
    let areas: Vec<Area> = reading.digits().map(|digit| digit.area).collect();
    let edges = |area: &Area| [area.left, area.top, area.right, area.bottom];
    let is_near = |(a, b): (&Area, &Area)| {
        edges(a).iter().zip(edges(b)).all(|(a, b)| a.abs_diff(b) <= a.min(&b) / 20 + 8)
    };
    let all_near = areas.iter().zip(drawn).all(is_near);
    assert!(areas.len() == drawn.len() && all_near, "found at {areas:?}, drawn at {drawn:?}");
}

/// A picture of 400x300 pixels.
fn small(pixel: impl Fn(usize, usize) -> u8) -> Gray {
    let (width, height) = (400, 300);
    let pixels = (0..width * height).map(|i| pixel(i % width, i / width)).collect();
    Gray { width, height, pixels }
}

#[test]
fn a_smaller_digit_beside_a_large_one_is_found() {
    let images = test_images();
    let (seven, four) = (&images[0], &images[4]);
    for dark in [true, false] {
        let mut page = small(|_, _| 235);
        let areas =
            [draw(&mut page, seven, 13, (20, 20), 25), draw(&mut page, four, 7, (270, 90), 25)];
        assert_found(if dark { page } else { page.inverted() }, &areas);
    }
    // One above the other is two as well.
    let mut page = Gray { width: 300, height: 400, pixels: vec![235; 300 * 400] };
    let above = draw(&mut page, seven, 8, (90, 20), 25);
    let below = draw(&mut page, four, 8, (90, 220), 25);
    assert_found(page, &[above, below]);
}

#[test]
fn a_dark_gutter_is_no_part_of_a_digit() {
    let seven = &test_images()[0];
    for times in [2, 5] {
        let mut scan = small(|x, _| if x < 30 { 40 } else { 235 });
        let area = draw(&mut scan, seven, times, (180, 90), 40);
        assert_found(scan, &[area]);
    }
}

#[test]
fn a_light_sheet_on_a_dark_desk_is_no_digit() {
    let images = test_images();
    let (sin, cos) = 5f32.to_radians().sin_cos();
    let sheet = || {
        small(|x, y| {
            let (x, y) = (x as f32 - 200.0, y as f32 - 150.0);
            let (across, down) = (x * cos + y * sin, y * cos - x * sin);
            if across.abs() < 170.0 && down.abs() < 125.0 { 215 } else { 45 }
        })
    };
    let mut two = sheet();
    let areas = [
        draw(&mut two, &images[0], 5, (90, 100), 40),
        draw(&mut two, &images[4], 5, (220, 100), 40),
    ];
    assert_found(two, &areas);
    let mut one = sheet();
    let area = draw(&mut one, &images[0], 8, (140, 70), 40);
    assert_found(one, &[area]);
    assert_found(sheet(), &[]);
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
fn a_hairline_on_a_large_page_is_found() {
    for (width, height) in [(2100, 2000), (2900, 2900), (4000, 3000)] {
        let hairline = |x: usize, y: usize| x / 2 == 300 && (700..900).contains(&y);
        let page = |x: usize, y: usize| if hairline(x, y) { 90 } else { 230 };
        assert_eq!(digits_in(width, height, page), 1, "{width}x{height}");
    }
}

#[test]
fn upright_strokes_beside_each_other_are_two_digits() {
    for gap in [6, 10, 20] {
        let bar = |x: usize| (60..66).contains(&x) || (66 + gap..72 + gap).contains(&x);
        let page = |x: usize, y: usize| if bar(x) && (40..120).contains(&y) { 20 } else { 230 };
        let pixels = (0..200 * 160).map(|i| page(i % 200, i / 200)).collect();
        let found = find(Gray { width: 200, height: 160, pixels });
        assert_eq!((found.lines[0].len(), found.images().len()), (2, 2), "{gap} apart");
    }
}

#[test]
fn of_what_is_left_out_digits_are_counted_and_specks_are_not() {
    // 2500 marks, none in line with another, beside an upright stroke.
    let left_out = |tall: usize| {
        let mut random = SplitMix::new(6);
        let (width, height) = (1300, 1250);
        let mut pixels = vec![230; width * height];
        let mut mark = |left: usize, top: usize, wide: usize, tall: usize| {
            (top..top + tall).for_each(|y| pixels[y * width + left..][..wide].fill(20));
        };
        mark(10, 400, 12, 200);
        for i in 0..2500 {
            let (x, y) = (40 + i % 50 * 25, i / 50 * 25);
            mark(x + random.below(10), y + 1 + random.below(9), 4, tall);
        }
        find(Gray { width, height, pixels }).left_out
    };
    assert_eq!(left_out(5), 0);
    assert_eq!(left_out(12), 501);
}

#[test]
fn digits_that_fill_a_strip_are_no_frame() {
    // Bars from the upper to the lower edge, and a shorter one.
    let bar = |x: usize, y: usize| match x {
        1..9 | 40..48 | 80..88 => true,
        110..118 => (10..50).contains(&y),
        _ => false,
    };
    let strip = |x: usize, y: usize| if bar(x, y) { 20 } else { 230 };
    assert_eq!(digits_in(120, 60, strip), 4);
    assert_eq!(digits_in(120, 60, |x, y| 250 - strip(x, y)), 4);
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
