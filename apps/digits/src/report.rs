//! `digits evaluate --report`: what an evaluation found, as a page that needs nothing but itself.

mod chart;
mod html;
mod tables;

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tapeflow as tf;

use self::html::{count, escaped, percent};
use crate::calibration::{self, BINS, Bin};
use crate::dataset::Split;
use crate::evaluate::{Evaluation, Reading};

/// The most misreadings that are shown.
const MOST: usize = 60;

const STYLE: &str = include_str!("report/style.css");

/// What the page is about.
pub struct Subject<'a> {
    pub model: &'a Path,
    pub architecture: &'a str,
    /// The directory of the images, none for the embedded MNIST.
    pub data: Option<&'a Path>,
}

/// Writes the page, whole or not at all.
pub fn write(
    path: &Path,
    subject: &Subject<'_>,
    split: &Split,
    evaluation: &Evaluation,
) -> tf::Result<()> {
    let page = page(subject, split, evaluation)?;
    tf::io::write_atomically(path, |file: &mut dyn io::Write| file.write_all(page.as_bytes()))
}

fn page(subject: &Subject<'_>, split: &Split, evaluation: &Evaluation) -> tf::Result<String> {
    let model = subject.model.file_name().unwrap_or(subject.model.as_os_str());
    let title = format!("How {} reads", escaped(&model.to_string_lossy()));
    let bins = calibration::bins(&evaluation.readings);
    let sections = [
        summary(subject, evaluation, &bins),
        tables::confusion(&evaluation.confusion),
        tables::digits(&evaluation.confusion),
        misreadings(split, evaluation)?,
        calibration_section(&bins),
    ];
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{}</main>\n<footer>Made by <code>digits evaluate</code> {}</footer>\n\
         </body>\n</html>\n",
        sections.concat(),
        env!("CARGO_PKG_VERSION"),
    ))
}

fn summary(subject: &Subject<'_>, evaluation: &Evaluation, bins: &[Bin; BINS]) -> String {
    let (correct, total) = (evaluation.confusion.correct(), evaluation.confusion.total());
    let (low, high) = html::interval(correct, total);
    let error = calibration::expected_error(bins);
    let images = match subject.data {
        None => "test images of MNIST".to_owned(),
        Some(data) => format!("test images in <code>{}</code>", escaped(&data.to_string_lossy())),
    };
    let figure = |name: &str, value: &str, more: &str| {
        format!(
            "<div><dt>{name}</dt><dd><strong>{value}</strong> <small>{more}</small></dd></div>\n"
        )
    };
    let figures = [
        figure(
            "Accuracy",
            &percent(evaluation.confusion.accuracy()),
            &format!("95&nbsp;% sure between {} and {}", percent(low), percent(high)),
        ),
        figure("Misread", &count(total - correct), &format!("of {}", count(total))),
        figure(
            "Loss",
            &format!("{:.4}", evaluation.loss),
            "mean of −log of the right digit’s probability",
        ),
        figure("Calibration error", &percent(error), "how far off its confidences are"),
    ];
    format!(
        "<p class=\"lead\">The network <code>{}</code> of <code>{}</code> read {} {images}.</p>\n\
         <dl class=\"figures\">\n{}</dl>\n",
        escaped(subject.architecture),
        escaped(&subject.model.to_string_lossy()),
        count(total),
        figures.concat(),
    )
}

fn misreadings(split: &Split, evaluation: &Evaluation) -> tf::Result<String> {
    let worst = evaluation.misreadings();
    let intro = match worst.len() {
        0 => "None: every image was read right.".to_owned(),
        all if all <= MOST => format!("All {all}, those first that the network was surest of."),
        all => format!("{MOST} of {}, those that the network was surest of.", count(all as u64)),
    };
    let figures: String = worst
        .iter()
        .take(MOST)
        .map(|reading| misreading(split, reading))
        .collect::<tf::Result<_>>()?;
    let grid = if figures.is_empty() {
        String::new()
    } else {
        format!("<div class=\"grid\">\n{figures}</div>\n")
    };
    Ok(format!(
        "<section aria-labelledby=\"worst\">\n<h2 id=\"worst\">Worst misreadings</h2>\n\
         <p>{intro}</p>\n{grid}</section>\n"
    ))
}

/// A picture, dark on light, with what it is and what was read.
fn misreading(split: &Split, reading: &Reading) -> tf::Result<String> {
    let Reading { image, label, read, confidence, given } = *reading;
    let picture = split.images.row(image)?;
    let paper: Vec<u8> = picture.as_slice::<u8>()?.iter().map(|ink| 255 - ink).collect();
    let shape = [picture.shape()[0], picture.shape()[1], 1];
    let png = tf::io::encode_png(&tf::Tensor::from_slice(&paper, shape)?)?;
    Ok(format!(
        "<figure><img src=\"data:image/png;base64,{}\" width=\"84\" height=\"84\" \
         alt=\"Test image {image}: a {label}, which was given {}\"><figcaption><b>{label}</b> read as \
         <b class=\"wrong\">{read}</b><br><small>{} sure</small></figcaption></figure>\n",
        STANDARD.encode(&png),
        percent(given.into()),
        percent(confidence.into()),
    ))
}

fn calibration_section(bins: &[Bin; BINS]) -> String {
    format!(
        "<section aria-labelledby=\"calibration\">\n<h2 id=\"calibration\">Calibration</h2>\n\
         <p>Of what is read with a confidence of 90&nbsp;%, 90&nbsp;% should be right. Points above the line \
         are better than they claim, points below are too sure. The lines through them show how \
         far chance alone could move them (95&nbsp;%). In the mean over all images, confidence and \
         accuracy are <strong>{}</strong> apart: the expected calibration error.</p>\n\
         <div class=\"split\">\n{}{}</div>\n</section>\n",
        percent(calibration::expected_error(bins)),
        chart::calibration(bins),
        tables::calibration(bins),
    )
}

#[cfg(test)]
mod tests;
