//! Image files, and what is none.

use std::io::{Cursor, Write};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{GrayImage, ImageFormat, Luma};
use serde_json::Value;

use crate::bench::Server;

const PATH: &str = "/v1/digits:read";

/// A page with upright strokes, 12 wide, at these places.
fn page(strokes: &[u32]) -> Vec<u8> {
    let picture = GrayImage::from_fn(400, 160, |x, y| {
        let inked = (30..130).contains(&y) && strokes.iter().any(|&at| (at..at + 12).contains(&x));
        Luma([if inked { 20 } else { 235 }])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn the_answer_is_that_of_predict() {
    // The limit is for predict requests: a picture has as many digits as it has.
    let server = Server::start("--max-instances 1");
    let file = page(&[60, 180, 300]);
    let answer = server.post(PATH, &file).json();
    assert_eq!(answer["digits"].as_array().unwrap().len(), 3);
    assert_eq!(answer["text"], "333");
    assert_eq!(answer["digits"][1]["box"], serde_json::json!([180, 30, 12, 100]));
    let mut predict = Command::new(env!("CARGO_BIN_EXE_digits"))
        .args(["predict", "--json", "-", "--model"])
        .arg(server.model())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    predict.stdin.take().unwrap().write_all(&file).unwrap();
    let output = predict.wait_with_output().unwrap();
    let expected: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The network sums in another order for another size of batch.
    assert_eq!(rounded(&answer), rounded(&expected));
}

/// The same with numbers of few digits.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            format!("{:.4}", number.as_f64().unwrap()).into()
        }
        Value::Array(values) => values.iter().map(rounded).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), rounded(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn what_the_page_asks_for_besides() {
    let server = Server::start("");
    let path = format!("{PATH}?seen=1&activations=1&name=a%20b.png");
    let answer = server.post(&path, &page(&[100, 250])).json();
    assert_eq!(answer["image"], "a b.png");
    assert_eq!(answer["model"], serde_json::json!({"network": "fast", "version": 1}));
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let seen = bytes(&answer["digits"][1]["seen"]);
    assert_eq!((seen.len(), seen[0]), (28 * 28, 0));
    assert!(seen.contains(&255));
    let maps = &answer["activations"];
    assert_eq!((maps["digit"].as_u64(), maps["channels"].as_u64()), (Some(1), Some(8)));
    assert_eq!(bytes(&maps["data"]).len(), 24 * 24 * 8);
    let last = server.post(&format!("{PATH}?activations=last"), &page(&[100, 250])).json();
    assert_eq!(last["activations"]["digit"], 1);
    assert!(last["digits"][0].get("seen").is_none());
    let none = server.post(&format!("{PATH}?activations=5"), &page(&[100])).json();
    assert!(none.get("activations").is_none());
    let error = server.post(&format!("{PATH}?what"), b"").error();
    assert!(error.starts_with("what: known are"), "{error}");
}

#[test]
fn blank_paper_is_an_answer_and_other_files_are_refused() {
    let server = Server::start("");
    let blank = server.post(PATH, &page(&[])).json();
    assert_eq!((blank["text"].as_str(), blank["digits"].as_array().unwrap().len()), (Some(""), 0));
    for body in [b"".as_slice(), b"not an image", &page(&[60])[..300]] {
        let answer = server.post(PATH, body);
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("image"), "{}", answer.error());
    }
    let form =
        server.ask("POST", PATH, "Content-Type: multipart/form-data; boundary=x\r\n", b"--x");
    assert!(form.error().contains("--data-binary"), "{}", form.error());
    assert_eq!(server.get(PATH).status, 405);
}

/// A PNG of 10,000 x 10,000 pixels of one color: 100 KB that would become 100 MB and more.
fn bomb() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    GrayImage::new(10_000, 10_000).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn pictures_that_would_fill_the_memory_are_refused() {
    let server = Server::start("");
    let bomb = bomb();
    assert!(bomb.len() < 1 << 20);
    for _ in 0..5 {
        let answer = server.post(PATH, &bomb);
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("the most is 25000000 pixels"), "{}", answer.error());
    }
    let memory = server.metric("process_resident_memory_bytes");
    assert!(memory < 200e6, "{memory} bytes");
}

#[test]
fn image_files_also_come_by_tensorflow_servings_way() {
    let server = Server::start("");
    let file = |strokes: &[u32]| format!("{{\"b64\": \"{}\"}}", STANDARD.encode(page(strokes)));
    let (one, two, none) = (file(&[180]), file(&[60, 300]), file(&[]));
    let body = format!("{{\"signature_name\": \"read\", \"instances\": [{one}, {two}, {none}]}}");
    let answer = server.predict(&body).json();
    let texts: Vec<_> =
        (0..3).map(|i| answer["predictions"][i]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["3", "33", ""]);
    let body =
        format!("{{\"signature_name\": \"read\", \"inputs\": {{\"image_bytes\": [{one}]}}}}");
    let answer = server.predict(&body).json();
    assert_eq!(answer["outputs"]["text"], serde_json::json!(["3"]));
    assert!(answer["outputs"]["confidence"][0].as_f64().unwrap() > 0.1);
    let body = "{\"signature_name\": \"read\", \"instances\": [{\"b64\": \"aGk=\"}]}";
    let error = server.predict(body).error();
    assert!(error.starts_with("Failed to read image 0: not an image"), "{error}");
}
