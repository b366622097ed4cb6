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

fn read(files: &[PathBuf]) -> Vec<serde_json::Value> {
    let output =
        digits().args(["predict", "--json", "--model"]).arg(model()).args(files).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many digits of two lines agree, at best: the longest common subsequence.
fn agreeing(a: &str, b: &str) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a.bytes() {
        let mut diagonal = 0;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
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
    for (number, (look, floor)) in (1..).zip(looks()) {
        let sheets: Vec<_> = (0..3).map(|i| sheets::sheet(100 * number + i, 3, 8, &look)).collect();
        let files: Vec<PathBuf> = (0..sheets.len())
            .map(|i| folder.join(format!("{}-{i}.jpg", look.name.replace([' ', ','], "-"))))
            .collect();
        for (sheet, file) in sheets.iter().zip(&files) {
            sheet.picture.save(file).unwrap();
        }
        let (mut right, mut written, mut found) = (0, 0, 0);
        for (sheet, answer) in sheets.iter().zip(read(&files)) {
            let text = answer["text"].as_str().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() == sheet.lines.len() {
                right += sheet.lines.iter().zip(&lines).map(|(a, b)| agreeing(a, b)).sum::<usize>();
            }
            found += lines.iter().map(|line| line.len()).sum::<usize>();
            written += sheet.lines.iter().map(String::len).sum::<usize>();
            if keep.is_some() {
                println!("  {} {:?} {:?}", look.name, sheet.lines, lines);
            }
        }
        println!("{:16} {right} of {written}, {found} found", look.name);
        all = (all.0 + right, all.1 + written);
        if (right as f64) < floor * written as f64 {
            low.push(look.name);
        }
    }
    println!("{:16} {} of {}", "all", all.0, all.1);
    assert!(low.is_empty(), "too little was read of {low:?}");
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
    const COUNT: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = test_images(COUNT);
    let save = |name: String, picture: &image::GrayImage| {
        let file = folder.path().join(name);
        picture.save(&file).unwrap();
        file
    };
    let alone: Vec<PathBuf> =
        images.iter().enumerate().map(|(i, image)| save(format!("{i}.png"), image)).collect();
    let texts = |files: &[PathBuf]| -> Vec<String> {
        let text = |answer: serde_json::Value| answer["text"].as_str().unwrap().replace('\n', "");
        read(files).into_iter().map(text).collect()
    };
    let alone = texts(&alone);
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
    let labels_of_page = labels.as_bytes().chunks(50).map(|page| str::from_utf8(page).unwrap());
    let paged: usize =
        texts(&pages).iter().zip(labels_of_page).map(|(text, labels)| agreeing(text, labels)).sum();
    let alone: usize = alone
        .iter()
        .zip(labels.chars())
        .filter(|(text, label)| **text == label.to_string())
        .count();
    println!("{alone} of {COUNT} alone, {paged} on pages");
    assert!(paged + 3 >= alone, "{alone} of {COUNT} alone, {paged} on pages");
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
