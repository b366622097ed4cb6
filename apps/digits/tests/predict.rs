//! `digits predict` as a user meets it, on pages drawn for the purpose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sheets;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sheets::page::{Look, Ruling};

/// Looks, each with the part of the digits that must be read right.
fn looks() -> Vec<(Look, f64)> {
    let plain = Look::default();
    vec![
        (plain.clone(), 0.95),
        (Look { name: "thin pen", pen: 0.03, ..plain.clone() }, 0.95),
        (Look { name: "marker", pen: 0.17, ..plain.clone() }, 0.95),
        (Look { name: "pencil", pen: 0.06, ink: 0.6, unsteady: 0.12, ..plain.clone() }, 0.95),
        (
            Look {
                name: "chalk",
                paper: 0.15,
                ink: 0.85,
                unsteady: 0.12,
                texture: 0.02,
                ..plain.clone()
            },
            0.95,
        ),
        (Look { name: "ruled", ruling: Ruling::Ruled, pen: 0.06, ..plain.clone() }, 0.95),
        (
            Look {
                name: "dark ruled",
                ruling: Ruling::Ruled,
                ruled: 0.45,
                pen: 0.06,
                turned: 0.02,
                ..plain.clone()
            },
            0.95,
        ),
        (Look { name: "squared", ruling: Ruling::Squared, pen: 0.06, ..plain.clone() }, 0.95),
        (
            Look {
                name: "squared, turned",
                ruling: Ruling::Squared,
                ruled: 0.6,
                pen: 0.06,
                turned: 0.04,
                gradient: 0.3,
                ..plain.clone()
            },
            0.95,
        ),
        (Look { name: "gradient", gradient: 0.6, noise: 0.02, ..plain.clone() }, 0.95),
        (
            Look { name: "shadow", gradient: 0.2, shadow: 0.45, turned: -0.05, ..plain.clone() },
            0.95,
        ),
        (
            Look { name: "rough paper", texture: 0.04, noise: 0.03, paper: 0.75, ..plain.clone() },
            0.95,
        ),
        (Look { name: "blurred", blur: 0.035, ..plain.clone() }, 0.95),
        (Look { name: "small", tall: 24, blur: 0.01, noise: 0.02, ..plain.clone() }, 0.95),
        (Look { name: "large", tall: 220, ..plain.clone() }, 0.95),
        (Look { name: "turned", turned: 0.15, ..plain.clone() }, 0.95),
    ]
}

fn digits() -> Command {
    Command::new(env!("CARGO_BIN_EXE_digits"))
}

/// So many digits may the model in the program read wrong of those in all looks, where it reads 1 and the
/// fast one 6, and of 3000 of MNIST's on pages, where it reads 23 and the fast one 57.
const MOST_WRONG_ON_LOOKS: usize = 5;
const MOST_WRONG_ON_PAGES: usize = 37;

/// A model to read with, made once.
fn model() -> &'static Path {
    static MODEL: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fast.safetensors");
        let done =
            digits().args(["train", "--model", "fast", "--json", "--out"]).arg(&path).output();
        assert!(done.unwrap().status.success());
        (folder, path)
    });
    path
}

/// What reads.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reader {
    /// The model that [`model`] makes.
    Fast,
    /// The model in the program.
    Shipped,
}

fn read(reader: Reader, files: &[PathBuf]) -> Vec<serde_json::Value> {
    let mut predict = digits();
    predict.args(["predict", "--json"]).args(files);
    if reader == Reader::Fast {
        predict.arg("--model").arg(model());
    }
    let output = predict.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many digits must be put right, put in or taken out to make one line of the other.
fn mistakes(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[test]
fn pages_of_every_look_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let keep = std::env::var_os("DIGITS_SHEETS").map(PathBuf::from);
    let folder = keep.as_deref().unwrap_or(folder.path());
    let mut all = (0, 0);
    let mut low = Vec::new();
    let mut wrong_by_shipped = 0;
    for (number, (look, floor)) in (1..).zip(looks()) {
        let sheets: Vec<_> = (0..3).map(|i| sheets::sheet(100 * number + i, 3, 8, &look)).collect();
        let files: Vec<PathBuf> = (0..sheets.len())
            .map(|i| folder.join(format!("{}-{i}.jpg", look.name.replace([' ', ','], "-"))))
            .collect();
        for (sheet, file) in sheets.iter().zip(&files) {
            sheet.picture.save(file).unwrap();
        }
        for (sheet, answer) in sheets.iter().zip(read(Reader::Shipped, &files)) {
            let text = answer["text"].as_str().unwrap();
            wrong_by_shipped += mistakes(&sheet.lines.join("\n"), text);
        }
        let (mut wrong, mut written, mut found) = (0, 0, 0);
        for (sheet, answer) in sheets.iter().zip(read(Reader::Fast, &files)) {
            let text = answer["text"].as_str().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            wrong += mistakes(&sheet.lines.join("\n"), text);
            found += lines.iter().map(|line| line.len()).sum::<usize>();
            written += sheet.lines.iter().map(String::len).sum::<usize>();
            if keep.is_some() {
                println!("  {} {:?} {:?}", look.name, sheet.lines, lines);
            }
        }
        println!("{:16} {wrong} wrong of {written}, {found} found", look.name);
        all = (all.0 + wrong, all.1 + written);
        if wrong as f64 > (1.0 - floor) * written as f64 {
            low.push(look.name);
        }
    }
    println!(
        "{:16} {} wrong of {}, {wrong_by_shipped} by the model in the program",
        "all", all.0, all.1
    );
    assert!(low.is_empty(), "too little was read of {low:?}");
    assert!(
        wrong_by_shipped <= MOST_WRONG_ON_LOOKS,
        "the model in the program reads {wrong_by_shipped} of {} wrong",
        all.1
    );
}

/// The part of a picture that has ink, with so many pixels of paper around.
fn cropped(picture: &image::GrayImage, margin: u32) -> image::GrayImage {
    let inked: Vec<(u32, u32)> = picture
        .enumerate_pixels()
        .filter(|(_, _, pixel)| pixel[0] > 0)
        .map(|(x, y, _)| (x, y))
        .collect();
    let (left, right) =
        (inked.iter().map(|p| p.0).min().unwrap(), inked.iter().map(|p| p.0).max().unwrap());
    let (top, bottom) =
        (inked.iter().map(|p| p.1).min().unwrap(), inked.iter().map(|p| p.1).max().unwrap());
    let (wide, tall) = (right + 1 - left, bottom + 1 - top);
    let mut crop = image::GrayImage::new(wide + 2 * margin, tall + 2 * margin);
    let ink = image::imageops::crop_imm(picture, left, top, wide, tall).to_image();
    image::imageops::replace(&mut crop, &ink, margin.into(), margin.into());
    crop
}

/// A picture in the middle of a square.
fn squared(picture: &image::GrayImage) -> image::GrayImage {
    let (wide, tall) = picture.dimensions();
    let side = wide.max(tall);
    let mut square = image::GrayImage::new(side, side);
    let (left, top) = ((side - wide) / 2, (side - tall) / 2);
    image::imageops::replace(&mut square, picture, left.into(), top.into());
    square
}

#[test]
fn digits_cropped_to_their_ink_are_read() {
    use image::imageops::{FilterType, invert, resize};
    const COUNT: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = test_images(COUNT);
    let scaled = |picture: &image::GrayImage, times: u32, filter: FilterType| {
        resize(picture, picture.width() * times, picture.height() * times, filter)
    };
    let sixteen = |picture: &image::GrayImage| resize(picture, 16, 16, FilterType::Triangle);
    type Form<'a> = (&'a str, f64, Box<dyn Fn(&image::GrayImage) -> image::GrayImage + 'a>);
    // With the part of the digits that may be read wrong.
    let forms: [Form; 6] = [
        ("as it is", 0.04, Box::new(|crop| crop.clone())),
        ("three times", 0.04, Box::new(|crop| scaled(crop, 3, FilterType::Triangle))),
        ("eight times", 0.04, Box::new(|crop| scaled(crop, 8, FilterType::Nearest))),
        ("16x16", 0.05, Box::new(|crop| sixteen(&squared(crop)))),
        (
            "16x16 eight times",
            0.05,
            Box::new(|crop| scaled(&sixteen(&squared(crop)), 8, FilterType::Triangle)),
        ),
        (
            "a third too wide",
            0.06,
            Box::new(|crop| {
                resize(crop, crop.width() * 4, crop.height() * 3, FilterType::Triangle)
            }),
        ),
    ];
    let mut low = Vec::new();
    for (number, (name, most, form)) in forms.iter().enumerate() {
        for dark in [false, true] {
            let files: Vec<PathBuf> = images
                .iter()
                .enumerate()
                .map(|(i, image)| {
                    let mut picture = form(&cropped(image, i as u32 % 3));
                    if dark {
                        invert(&mut picture);
                    }
                    let file = folder.path().join(format!("{number}-{dark}-{i}.png"));
                    picture.save(&file).unwrap();
                    file
                })
                .collect();
            let answers = read(Reader::Fast, &files);
            let right = |(answer, label): &(&serde_json::Value, char)| {
                answer["text"].as_str() == Some(&label.to_string())
            };
            let wrong = COUNT - answers.iter().zip(labels.chars()).filter(right).count();
            println!("{name}, dark {dark}: {wrong} wrong of {COUNT}");
            if wrong as f64 > most * COUNT as f64 {
                low.push((name, dark, wrong));
            }
        }
    }
    assert!(low.is_empty(), "too little was read of {low:?}");
}

/// Whether there is ink at `x`, `y` of a picture of `width` x `height`.
type Drawing = fn(x: u32, y: u32, width: u32, height: u32) -> bool;

/// What makes much work for a program that looks for strokes.
const DRAWINGS: [(&str, Drawing); 13] = [
    ("comb", |x, y, _, _| y < 4 || x % 4 < 2),
    ("interlocked combs", |x, y, _, height| match x % 8 {
        0 | 1 => (2..height - 5).contains(&y),
        4 | 5 => (6..height - 2).contains(&y),
        _ => (2..4).contains(&y) || (height - 4..height - 2).contains(&y),
    }),
    ("rings", |x, y, width, height| x.min(y).min(width - 1 - x).min(height - 1 - y) % 4 < 2),
    ("spiral", |x, y, width, height| {
        let (x, y) = (x as f32 - width as f32 / 2.0, y as f32 - height as f32 / 2.0);
        (x.hypot(y) / 8.0 - y.atan2(x) / std::f32::consts::TAU).rem_euclid(1.0) < 0.4
    }),
    ("nested Ls", |x, y, width, height| {
        let free = x > 3 && y + 3 < height;
        free && x.min(height - 1 - y) % 5 < 2 && x + y * width / height < width
    }),
    ("dots", |x, y, _, _| x % 2 == 0 && y % 2 == 0),
    ("squares", |x, y, _, _| x % 24 < 20 && y % 24 < 20),
    ("hairlines", |x, y, _, _| x % 7 == 0 || y % 11 == 0),
    ("steep hairlines", |x, y, _, _| (x + 3 * y) % 17 == 0),
    ("salt and pepper", |x, y, _, _| scattered(x, y).is_multiple_of(9)),
    ("noise", |x, y, _, _| scattered(x, y).is_multiple_of(2)),
    ("blocks", |x, y, _, _| scattered(x / 8, y / 8) % 5 < 2),
    ("checkerboard", |x, y, _, _| (x + y) % 2 == 0),
];

/// A number for each place that looks random.
fn scattered(x: u32, y: u32) -> u64 {
    tapeflow_testing::SplitMix::new(u64::from(x) << 32 | u64::from(y)).bits() >> 20
}

/// A process has so many KiB of addresses for a picture, and a server's thread not much more.
const MOST_KIB: usize = 1_200_000;

/// Reads a picture in at most so many seconds of a processor, three times as many as the slowest of its
/// size takes. What is not bounded by the number of pixels takes many times that.
fn reads_within(seconds: usize, folder: &Path, name: &str, picture: &image::GrayImage) {
    let file = folder.join("drawing.png");
    picture.save(&file).unwrap();
    let limits = format!("ulimit -v {MOST_KIB} && ulimit -t {seconds} && exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &limits, env!("CARGO_BIN_EXE_digits"), "predict", "--json", "--model"])
        .arg(model())
        .arg(&file)
        .output()
        .unwrap();
    let (width, height) = picture.dimensions();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} of {width}x{height}: {} {errors}", output.status);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["digits"].as_array().unwrap().len() <= 4000, "{name} of {width}x{height}");
}

#[test]
fn no_drawing_takes_much_time_or_memory() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [(300, 200, 1), (1200, 1000, 2), (20_000, 150, 2)];
    for (width, height, seconds) in sizes {
        for (name, ink) in DRAWINGS {
            let picture = image::GrayImage::from_fn(width, height, |x, y| {
                image::Luma([if ink(x, y, width, height) { 20 } else { 230 }])
            });
            reads_within(seconds, folder.path(), name, &picture);
        }
    }
    let slope = |x: u32, _: u32| image::Luma([(x / 12) as u8]);
    reads_within(2, folder.path(), "slope", &image::GrayImage::from_fn(3000, 2000, slope));
    // As many pixels as are read, in strokes that remain when they are reduced.
    for (name, ink) in [DRAWINGS[1], DRAWINGS[4], DRAWINGS[6]] {
        let picture = image::GrayImage::from_fn(7000, 7000, |x, y| {
            image::Luma([if ink(x / 3, y / 3, 2334, 2334) { 20 } else { 230 }])
        });
        reads_within(8, folder.path(), name, &picture);
    }
}

/// MNIST's first test images, and what they are.
fn test_images(count: usize) -> (Vec<image::GrayImage>, String) {
    let (_, (images, labels)) = tapeflow::datasets::mnist::load_data().unwrap();
    let images = images.as_slice::<u8>().unwrap().as_chunks::<784>().0[..count]
        .iter()
        .map(|pixels| image::GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap())
        .collect();
    let labels = labels.as_slice::<u8>().unwrap()[..count].iter();
    (images, labels.map(|&label| char::from(b'0' + label)).collect())
}

#[test]
fn mnist_on_pages_is_read_as_well_as_by_itself() {
    const COUNT: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = test_images(COUNT);
    let save = |name: String, picture: &image::GrayImage| {
        let file = folder.path().join(name);
        picture.save(&file).unwrap();
        file
    };
    let alone: Vec<PathBuf> =
        images.iter().enumerate().map(|(i, image)| save(format!("{i}.png"), image)).collect();
    let texts = |reader: Reader, files: &[PathBuf]| -> Vec<String> {
        let text = |answer: serde_json::Value| answer["text"].as_str().unwrap().replace('\n', "");
        read(reader, files).into_iter().map(text).collect()
    };
    let alone = texts(Reader::Fast, &alone);
    let mut random = sheets::random::Random::new(1);
    let pages = images.chunks(50).enumerate().map(|(number, images)| {
        let times = 3 + number as u32 % 3;
        let (side, cell) = (28 * times, 28 * times + 20);
        let mut page = image::GrayImage::new(10 * cell + 40, 5 * cell + 40);
        for (i, image) in (0..).zip(images) {
            let filter = image::imageops::FilterType::Triangle;
            let large = image::imageops::resize(image, side, side, filter);
            let (x, y) = (20 + i % 10 * cell, 20 + i / 10 * cell);
            let (x, y) = (x as usize + random.below(20), y as usize + random.below(20));
            image::imageops::replace(&mut page, &large, x as i64, y as i64);
        }
        if number % 2 == 0 {
            image::imageops::invert(&mut page);
        }
        save(format!("page-{number}.png"), &page)
    });
    let pages: Vec<PathBuf> = pages.collect();
    let wrong_on_pages = |reader: Reader| -> usize {
        let labels = labels.as_bytes().chunks(50).map(|page| str::from_utf8(page).unwrap());
        let texts = texts(reader, &pages);
        texts.iter().zip(labels).map(|(text, labels)| mistakes(text, labels)).sum()
    };
    let paged = wrong_on_pages(Reader::Fast);
    let by_shipped = wrong_on_pages(Reader::Shipped);
    let alone: usize = alone
        .iter()
        .zip(labels.chars())
        .map(|(text, label)| mistakes(text, &label.to_string()))
        .sum();
    let wrong = format!(
        "of {COUNT}, {alone} wrong alone, {paged} on pages, {by_shipped} by the model in the program"
    );
    println!("{wrong}");
    assert!(paged <= alone + COUNT * 3 / 1000, "{wrong}");
    assert!(by_shipped <= MOST_WRONG_ON_PAGES, "{wrong}");
}

#[test]
fn answers_come_as_text_as_json_and_as_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sheet = sheets::sheet(3, 2, 4, &Look::default());
    sheet.picture.save(path("sheet.png")).unwrap();
    image::GrayImage::from_pixel(90, 60, image::Luma([250])).save(path("blank.webp")).unwrap();
    std::fs::write(path("letter.txt"), "not a picture").unwrap();
    let run = |args: &[&str], code: i32| {
        let output = digits()
            .current_dir(folder.path())
            .args(["predict", "--model"])
            .arg(model())
            .args(args)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        (String::from_utf8(output.stdout).unwrap(), errors)
    };
    let (text, errors) = run(&["sheet.png", "letter.txt", "missing.png", "blank.webp"], 2);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let spaced: String = sheet.lines[0].chars().flat_map(|digit| [' ', digit]).collect();
    assert!(lines[0].starts_with(&format!("sheet.png:{spaced} (")), "{text}");
    assert_eq!(lines[2], "blank.webp: no digit here");
    assert!(errors.contains("letter.txt: not an image") && errors.contains("missing.png: cannot"));

    let (text, _) = run(&["--json", "sheet.png", "letter.txt", "blank.webp"], 2);
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers[0]["image"], "sheet.png");
    assert_eq!(answers[0]["text"], sheet.lines.join("\n"));
    let first = &answers[0]["digits"][0];
    assert_eq!(first["digit"].to_string(), sheet.lines[0][..1]);
    let probabilities = first["probabilities"].as_array().unwrap();
    assert_eq!(probabilities.len(), 10);
    let sum: f64 = probabilities.iter().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4);
    let area: Vec<u64> =
        first["box"].as_array().unwrap().iter().map(|edge| edge.as_u64().unwrap()).collect();
    assert!(area.len() == 4 && area[3] > 60 && area[3] < 100, "{area:?}");
    assert_eq!(
        (&answers[1]["image"], answers[1]["error"].is_string()),
        (&"letter.txt".into(), true)
    );
    assert_eq!((&answers[2]["text"], &answers[2]["digits"]), (&"".into(), &serde_json::json!([])));

    run(&["sheet.png", "--annotate", "marked.png"], 0);
    let marked = image::open(path("marked.png")).unwrap().into_rgb8();
    assert_eq!(marked.dimensions(), sheet.picture.dimensions());
    assert!(marked.pixels().any(|pixel| pixel[0] != pixel[1]), "nothing is marked");
    run(&["sheet.png", "blank.webp", "--annotate", "marked"], 0);
    assert!(path("marked/sheet.png.png").is_file() && path("marked/blank.webp.png").is_file());
    std::fs::create_dir(path("other")).unwrap();
    std::fs::copy(path("blank.webp"), path("other/sheet.png")).unwrap();
    run(&["sheet.png", "other/sheet.png", "--annotate", "both"], 0);
    let marked = |name: &str| image::open(path(name)).unwrap().into_rgb8().dimensions();
    assert_eq!(marked("both/sheet.png.png"), sheet.picture.dimensions());
    assert!(path("both/sheet.png-2.png").is_file());
    for over in ["sheet.png", "./other/../sheet.png"] {
        let (_, errors) = run(&["sheet.png", "--annotate", over], 2);
        assert!(errors.contains("would write over"), "{errors}");
    }
    assert_eq!(marked("sheet.png"), sheet.picture.dimensions());
    let (text, _) = run(&["sheet.png", "--json", "--show"], 0);
    let seen = &serde_json::from_str::<serde_json::Value>(&text).unwrap()["digits"][0]["seen"];
    assert_eq!(seen.as_str().map(str::len), Some(784usize.div_ceil(3) * 4));
    let (text, _) = run(&["sheet.png", "--show"], 0);
    assert!(text.contains('█') && text.lines().count() > 30, "{text}");

    let shipped = |args: &[&str]| {
        digits().current_dir(folder.path()).arg("predict").args(args).output().unwrap()
    };
    assert_eq!(shipped(&["sheet.png"]).status.code(), Some(0));
    assert_eq!(shipped(&["model.safetensors"]).status.code(), Some(2), "no image");
    let model_first = digits()
        .current_dir(folder.path())
        .arg("predict")
        .args([model(), Path::new("sheet.png")])
        .output()
        .unwrap();
    assert_eq!(model_first.status.code(), Some(0));
}
