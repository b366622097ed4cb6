//! The calibration curve, drawn.

use std::fmt::Write;

use super::html::interval;
use crate::calibration::{BINS, Bin};

/// The drawing's plane, in its own units: the axes' ends.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 348.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 316.0;

fn x(share: f64) -> f64 {
    LEFT + share * (RIGHT - LEFT)
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

/// How often readings are right against how sure they were, as an SVG element.
pub fn calibration(bins: &[Bin; BINS]) -> String {
    let mut svg = String::from(
        "<svg class=\"chart\" viewBox=\"0 0 360 364\" role=\"img\" \
         aria-labelledby=\"chart-title chart-text\">\n\
         <title id=\"chart-title\">Accuracy against confidence</title>\n\
         <desc id=\"chart-text\">The numbers are in the table beside it.</desc>\n",
    );
    axes(&mut svg);
    let filled: Vec<&Bin> = bins.iter().filter(|bin| bin.count > 0).collect();
    let path: Vec<String> = filled
        .iter()
        .map(|bin| format!("{:.1},{:.1}", x(bin.confidence()), y(bin.accuracy())))
        .collect();
    _ = writeln!(svg, "<polyline class=\"curve\" points=\"{}\"/>", path.join(" "));
    for bin in filled {
        let (low, high) = interval(bin.correct as u64, bin.count as u64);
        let (x, y1, y2) = (x(bin.confidence()), y(low), y(high));
        _ = writeln!(
            svg,
            "<line class=\"chance\" x1=\"{x:.1}\" y1=\"{y1:.1}\" x2=\"{x:.1}\" y2=\"{y2:.1}\"/>\
             <circle class=\"point\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"/>",
            y(bin.accuracy())
        );
    }
    svg + "</svg>\n"
}

fn axes(svg: &mut String) {
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let (x, y, label) = (x(share), y(share), 20 * tick);
        _ = writeln!(
            svg,
            "<line class=\"rule\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>\
             <line class=\"rule\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            LEFT - 6.0,
            y + 4.0,
            BOTTOM + 18.0,
        );
    }
    let middle = f64::midpoint(TOP, BOTTOM);
    _ = writeln!(
        svg,
        "<line class=\"ideal\" x1=\"{LEFT}\" y1=\"{BOTTOM}\" x2=\"{RIGHT}\" y2=\"{TOP}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">confidence, %</text>\n\
         <text transform=\"rotate(-90 12 {middle:.1})\" x=\"12\" y=\"{middle:.1}\" \
         text-anchor=\"middle\">read right, %</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 40.0,
    );
}
