//! Lines of writing.

use super::components::Area;

/// Sorts areas into lines, top to bottom, each from left to right; gives their numbers.
///
/// Lines may slope: each area joins the line whose course, continued, it lies nearest to.
pub fn lines(areas: &[Area]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..areas.len()).collect();
    let middle = |i: usize| {
        let area = areas[i];
        ((area.left + area.right) as f32 / 2.0, (area.top + area.bottom) as f32 / 2.0)
    };
    order.sort_by(|&a, &b| middle(a).0.total_cmp(&middle(b).0));
    let mut lines: Vec<Vec<usize>> = Vec::new();
    for &index in &order {
        let (x, y) = middle(index);
        let tall = areas[index].height() as f32;
        let mut best: Option<(f32, usize)> = None;
        for (number, line) in lines.iter().enumerate() {
            let usual =
                line.iter().map(|&i| areas[i].height() as f32).sum::<f32>() / line.len() as f32;
            let off = (course(line, &middle, x) - y).abs() / usual.max(tall);
            if off < 0.6 && best.is_none_or(|(least, _)| off < least) {
                best = Some((off, number));
            }
        }
        match best {
            Some((_, number)) => lines[number].push(index),
            None => lines.push(vec![index]),
        }
    }
    let height =
        |line: &Vec<usize>| line.iter().map(|&i| middle(i).1).sum::<f32>() / line.len() as f32;
    lines.sort_by(|a, b| height(a).total_cmp(&height(b)));
    lines
}

/// Where a line would be at `x`, by its last few members.
fn course(line: &[usize], middle: &impl Fn(usize) -> (f32, f32), x: f32) -> f32 {
    let last = &line[line.len().saturating_sub(5)..];
    let count = last.len() as f32;
    let (mut mean_x, mut mean_y) = (0.0, 0.0);
    for &i in last {
        let (x, y) = middle(i);
        mean_x += x / count;
        mean_y += y / count;
    }
    if last.len() < 3 {
        return mean_y;
    }
    let (mut along, mut rise) = (1e-3, 0.0);
    for &i in last {
        let (x, y) = middle(i);
        along += (x - mean_x) * (x - mean_x);
        rise += (x - mean_x) * (y - mean_y);
    }
    let slope = (rise / along).clamp(-0.3, 0.3);
    mean_y + slope * (x - mean_x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(x: usize, y: usize, tall: usize) -> Area {
        Area { left: x, top: y, right: x + 10, bottom: y + tall }
    }

    #[test]
    fn lines_that_slope_stay_apart() {
        // Two lines of eight that fall by 1 in 8: the end of the first is as low as the second starts.
        let areas: Vec<Area> =
            (0..16).map(|i| area(i % 8 * 30, 10 + i / 8 * 30 + i % 8 * 4, 20)).collect();
        assert_eq!(lines(&areas), [(0..8).collect::<Vec<_>>(), (8..16).collect()]);
    }

    #[test]
    fn tall_and_short_ones_share_a_line() {
        let areas = [area(60, 0, 30), area(0, 5, 20), area(30, 12, 18), area(5, 60, 20)];
        assert_eq!(lines(&areas), [vec![1, 2, 0], vec![3]]);
        assert!(lines(&[]).is_empty());
    }
}
