use tf::Tensor;

use super::*;
use crate::confusion::Confusion;
use crate::model::SIZE;

/// An evaluation of `count` images; every `wrong`th of them, a 4, was read as a 9.
fn evaluated(count: usize, wrong: usize) -> (Split, Evaluation) {
    let images = vec![7u8; count * SIZE * SIZE];
    let images = Tensor::from_slice(&images, [count, SIZE, SIZE]).unwrap();
    let mut evaluation =
        Evaluation { confusion: Confusion::default(), loss: 0.125, readings: Vec::new() };
    for image in 0..count {
        let read = if image % wrong == wrong - 1 { 9 } else { 4 };
        evaluation.confusion.add(4, read);
        let given = if read == 4 { 0.9 } else { 0.1 };
        evaluation.readings.push(Reading { image, label: 4, read, confidence: 0.9, given });
    }
    (Split { images, labels: Tensor::from(vec![4u8; count]) }, evaluation)
}

fn made(model: &str, count: usize, wrong: usize) -> String {
    let (split, evaluation) = evaluated(count, wrong);
    let subject = Subject { model: Path::new(model), architecture: "fast", data: None };
    page(&subject, &split, &evaluation).unwrap()
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let page = made("m.safetensors", 100, 5);
    for (i, _) in page.match_indices("src=\"") {
        assert!(page[i..].starts_with("src=\"data:image/png;base64,"));
    }
    assert!(!page.contains("href=") && !page.contains("<script") && !page.contains("url("));
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("@import"));
}

#[test]
fn a_page_tells_the_numbers() {
    let page = made("m.safetensors", 1000, 5);
    assert!(page.contains("<strong>80.00&nbsp;%</strong>"));
    assert!(page.contains("Most often misread: 4 as 9 (200 times)."));
    assert!(page.contains("60 of 200, those that the network was surest of."));
    assert_eq!(page.matches("<figure>").count(), 60);
    // It claims 90 % and is right in 80 %.
    assert!(page.contains("<strong>10.00&nbsp;%</strong> apart"), "{page}");
}

#[test]
fn every_element_is_closed() {
    let page = made("m.safetensors", 50, 7);
    for element in ["section", "table", "tr", "td", "th", "figure", "div", "svg", "p", "dl", "main"]
    {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

#[test]
fn names_are_no_markup() {
    let page = made("<script>alert(1)</script>", 10, 5);
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn nothing_wrong_is_said_in_words() {
    let page = made("m", 10, 11);
    assert!(page.contains("No digit was misread.") && page.contains("every image was read right"));
    assert!(page.contains("<strong>100.00&nbsp;%</strong>"));
}
