//! The tables of a page.

use super::html::{count, interval, percent};
use crate::calibration::{BINS, Bin};
use crate::confusion::Confusion;
use crate::model::CLASSES;

/// The most pairs of digits that are named.
const PAIRS: usize = 5;

/// Which digits are taken for which.
pub fn confusion(confusion: &Confusion) -> String {
    let heads: String =
        (0..CLASSES).map(|digit| format!("<th scope=\"col\">{digit}</th>")).collect();
    let rows: String = (0..CLASSES).map(|digit| row(digit, &confusion.rows()[digit])).collect();
    format!(
        "<section aria-labelledby=\"confusion\">\n<h2 id=\"confusion\">What is read as what</h2>\n\
         <p>{}</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-labelledby=\"confusion\">\n<table class=\"matrix\">\n\
         <caption>Each row is a true digit, each column what was read.</caption>\n\
         <thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n\
         </section>\n",
        commonest(confusion)
    )
}

fn row(digit: usize, counts: &[u64; CLASSES]) -> String {
    let total: u64 = counts.iter().sum();
    let cells: String = counts
        .iter()
        .enumerate()
        .map(|(read, &images)| {
            if images == 0 {
                return "<td></td>".into();
            }
            // Mistakes are few: they are shaded by their root, so that one is seen at all.
            let share = images as f64 / total as f64;
            let (class, shade) = if read == digit {
                ("right", share)
            } else {
                ("wrong", (4.0 * share).sqrt().min(1.0))
            };
            format!("<td class=\"{class}\" style=\"--shade:{shade:.2}\">{images}</td>")
        })
        .collect();
    format!("<tr><th scope=\"row\">{digit}</th>{cells}</tr>\n")
}

/// The commonest mistakes, in words.
fn commonest(confusion: &Confusion) -> String {
    let mut pairs = Vec::new();
    for (digit, row) in confusion.rows().iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|&(read, &images)| read != digit && images > 0);
        pairs.extend(wrong.map(|(read, &images)| (images, digit, read)));
    }
    // The largest first; of equals in the order of the table.
    pairs.sort_by_key(|&(images, ..)| std::cmp::Reverse(images));
    let named: Vec<String> = pairs
        .iter()
        .take(PAIRS)
        .map(|(images, digit, read)| {
            let times =
                if *images == 1 { "once".into() } else { format!("{} times", count(*images)) };
            format!("{digit} as {read} ({times})")
        })
        .collect();
    if named.is_empty() {
        "No digit was misread.".into()
    } else {
        format!("Most often misread: {}.", named.join(", "))
    }
}

/// Precision and recall of each digit.
pub fn digits(confusion: &Confusion) -> String {
    let rows = confusion.rows();
    let line = |digit: usize| {
        let right = rows[digit][digit];
        let images: u64 = rows[digit].iter().sum();
        let read: u64 = rows.iter().map(|row| row[digit]).sum();
        let both = 2.0 * right as f64 / (images + read).max(1) as f64;
        format!(
            "<tr><th scope=\"row\">{digit}</th><td>{}</td>{}{}{}</tr>\n",
            count(images),
            bar(right, read),
            bar(right, images),
            if images + read == 0 {
                "<td>–</td>".into()
            } else {
                format!("<td>{}</td>", percent(both))
            },
        )
    };
    let lines: String = (0..CLASSES).map(line).collect();
    format!(
        "<section aria-labelledby=\"digits\">\n<h2 id=\"digits\">Digit by digit</h2>\n\
         <p>Precision: of what was read as this digit, how much is one. Recall: of the images of \
         this digit, how many were read as it. F1 is their harmonic mean. The bars begin at 90&nbsp;%.\
         </p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"digits\">\n\
         <table>\n<thead><tr><th scope=\"col\">Digit</th><th scope=\"col\">Images</th>\
         <th scope=\"col\">Precision</th><th scope=\"col\">Recall</th><th scope=\"col\">F1</th></tr>\
         </thead>\n<tbody>\n{lines}</tbody>\n</table>\n</div>\n</section>\n"
    )
}

/// A cell with a share and a bar behind it.
fn bar(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "<td>–</td>".into();
    }
    let share = part as f64 / whole as f64;
    let width = ((share - 0.9) * 1000.0).max(0.0);
    format!("<td class=\"bar\" style=\"--bar:{width:.0}%\">{}</td>", percent(share))
}

/// The numbers of the calibration curve.
pub fn calibration(bins: &[Bin; BINS]) -> String {
    let line = |(i, bin): (usize, &Bin)| {
        let range = format!("{} – {}", 100 * i / BINS, 100 * (i + 1) / BINS);
        let (low, high) = interval(bin.correct as u64, bin.count as u64);
        let numbers = match bin.count {
            0 => "<td>–</td><td>–</td><td>–</td>".into(),
            _ => format!(
                "<td>{:.1}</td><td>{:.1}</td><td>{:.1} – {:.1}</td>",
                100.0 * bin.confidence(),
                100.0 * bin.accuracy(),
                100.0 * low,
                100.0 * high
            ),
        };
        format!(
            "<tr><th scope=\"row\">{range}</th><td>{}</td>{numbers}</tr>\n",
            count(bin.count as u64)
        )
    };
    let lines: String = bins.iter().enumerate().map(line).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The numbers of the \
         calibration curve\">\n<table class=\"narrow\">\n<caption>In percent, but for the images.\
         </caption>\n<thead><tr><th scope=\"col\">Confidence</th><th scope=\"col\">Images</th>\
         <th scope=\"col\">Mean</th><th scope=\"col\">Right</th><th scope=\"col\">By chance</th>\
         </tr></thead>\n<tbody>\n{lines}</tbody>\n</table>\n</div>\n"
    )
}
