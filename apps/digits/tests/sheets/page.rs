//! A page: ink on paper, as a camera sees it.

use image::GrayImage;

use super::random::Random;

/// Printed lines.
#[derive(Clone, Copy, PartialEq)]
pub enum Ruling {
    Plain,
    Ruled,
    Squared,
}

/// What a sheet looks like.
#[derive(Clone)]
pub struct Look {
    pub name: &'static str,
    /// Height of the digits, in pixels.
    pub tall: usize,
    /// Width of the pen, as a part of the digits' height.
    pub pen: f32,
    /// How much the pen's width and darkness vary.
    pub unsteady: f32,
    /// Light of the paper and of the ink, black 0 and white 1.
    pub paper: f32,
    pub ink: f32,
    pub ruling: Ruling,
    /// Light of the printed lines.
    pub ruled: f32,
    /// How much darker one side is.
    pub gradient: f32,
    /// How dark the shadow of a hand is.
    pub shadow: f32,
    /// The paper's fibres, and the camera's noise.
    pub texture: f32,
    pub noise: f32,
    /// Radius of the blur, as a part of the digits' height.
    pub blur: f32,
    /// The camera is turned by this angle.
    pub turned: f32,
}

impl Default for Look {
    fn default() -> Look {
        Look {
            name: "plain",
            tall: 80,
            pen: 0.09,
            unsteady: 0.05,
            paper: 0.95,
            ink: 0.12,
            ruling: Ruling::Plain,
            ruled: 0.72,
            gradient: 0.0,
            shadow: 0.0,
            texture: 0.01,
            noise: 0.01,
            blur: 0.006,
            turned: 0.0,
        }
    }
}

pub struct Page {
    width: usize,
    height: usize,
    ink: Vec<f32>,
}

impl Page {
    pub fn new(width: usize, height: usize) -> Page {
        Page { width, height, ink: vec![0.0; width * height] }
    }

    /// Draws a stroke with a round pen.
    pub fn stroke(&mut self, way: &[(f32, f32)], pen: f32, unsteady: f32, random: &mut Random) {
        let mut wide = pen;
        let mut dark = 1.0;
        for pair in way.windows(2) {
            wide = (wide + pen * unsteady * random.normal() * 0.4).clamp(0.7 * pen, 1.3 * pen);
            dark = (dark + unsteady * random.normal() * 0.2f32).clamp(1.0 - 3.0 * unsteady, 1.0);
            self.segment(pair[0], pair[1], wide / 2.0, dark);
        }
    }

    fn segment(&mut self, a: (f32, f32), b: (f32, f32), radius: f32, dark: f32) {
        let reach = radius + 1.0;
        let clip = |value: f32, end: usize| value.clamp(0.0, end as f32) as usize;
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length = (dx * dx + dy * dy).max(1e-6);
        for y in
            clip(a.1.min(b.1) - reach, self.height)..clip(a.1.max(b.1) + reach + 1.0, self.height)
        {
            for x in
                clip(a.0.min(b.0) - reach, self.width)..clip(a.0.max(b.0) + reach + 1.0, self.width)
            {
                let (px, py) = (x as f32 + 0.5 - a.0, y as f32 + 0.5 - a.1);
                let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let off = (px - along * dx).hypot(py - along * dy);
                let cover = (radius + 0.5 - off).clamp(0.0, 1.0) * dark;
                let ink = &mut self.ink[y * self.width + x];
                *ink = ink.max(cover);
            }
        }
    }

    /// The page as `look` says.
    pub fn photographed(self, look: &Look, random: &mut Random) -> GrayImage {
        let (width, height) = (self.width, self.height);
        let mut light: Vec<f32> =
            self.ink.iter().map(|ink| look.paper + (look.ink - look.paper) * ink).collect();
        let fibres = fibres(width, height, random);
        light.iter_mut().zip(&fibres).for_each(|(light, fibre)| *light += look.texture * fibre);
        rule(&mut light, width, look, random);
        let mut light = turn(&light, width, height, look);
        blur(&mut light, width, height, look.blur * look.tall as f32);
        let (bright_x, bright_y) = random.between(0.0, std::f32::consts::TAU).sin_cos();
        let (hand_x, hand_y) = (random.between(0.3, 0.7), random.between(0.5, 0.8));
        let pixels = light.iter().enumerate().map(|(i, light)| {
            let x = (i % width) as f32 / width as f32 - 0.5;
            let y = (i / width) as f32 / height as f32 - 0.5;
            let mut lit = 1.0 - look.gradient * (0.5 + x * bright_x + y * bright_y).clamp(0.0, 1.0);
            // The hand reaches in from the lower right, and its edge is a little soft.
            let depth = (x + 0.5 - hand_x) * 0.8 + (y + 0.5 - hand_y) * 0.6;
            lit *= 1.0 - look.shadow * (depth * 25.0).clamp(0.0, 1.0);
            let seen = light * lit + look.noise * random.normal();
            (seen * 255.0).round().clamp(0.0, 255.0) as u8
        });
        let pixels: Vec<u8> = pixels.collect();
        GrayImage::from_raw(width as u32, height as u32, pixels).unwrap()
    }
}

/// Smooth noise of two sizes.
fn fibres(width: usize, height: usize, random: &mut Random) -> Vec<f32> {
    let mut fine: Vec<f32> = (0..width * height).map(|_| random.normal()).collect();
    let mut coarse = fine.clone();
    blur(&mut fine, width, height, 1.0);
    blur(&mut coarse, width, height, 6.0);
    fine.iter().zip(&coarse).map(|(fine, coarse)| fine * 2.0 + coarse * 10.0).collect()
}

fn rule(light: &mut [f32], width: usize, look: &Look, random: &mut Random) {
    let spacing = look.tall as f32 * if look.ruling == Ruling::Ruled { 1.7 / 2.0 } else { 0.55 };
    let thick = (look.tall as f32 * 0.02).max(1.0);
    let (first_x, first_y) = (random.between(0.0, spacing), random.between(0.0, spacing));
    let cover = |place: f32, first: f32| {
        let off = (place + 0.5 - first).rem_euclid(spacing);
        (thick / 2.0 + 0.5 - off.min(spacing - off)).clamp(0.0, 1.0)
    };
    for (i, light) in light.iter_mut().enumerate() {
        let (x, y) = ((i % width) as f32, (i / width) as f32);
        let printed = match look.ruling {
            Ruling::Plain => 0.0,
            Ruling::Ruled => cover(y, first_y),
            Ruling::Squared => cover(y, first_y).max(cover(x, first_x)),
        };
        *light = light.min(*light + (look.ruled - look.paper) * printed);
        // Ink covers the print.
        if (look.ruled > look.paper) && printed > 0.0 {
            *light = light.max(look.paper + (look.ruled - look.paper) * printed);
        }
    }
}

/// The page seen by a camera that is not held level.
fn turn(light: &[f32], width: usize, height: usize, look: &Look) -> Vec<f32> {
    if look.turned == 0.0 {
        return light.to_vec();
    }
    let (sin, cos) = look.turned.sin_cos();
    let (middle_x, middle_y) = (width as f32 / 2.0, height as f32 / 2.0);
    let at = |x: isize, y: isize| {
        let x = x.clamp(0, width as isize - 1) as usize;
        light[y.clamp(0, height as isize - 1) as usize * width + x]
    };
    (0..width * height)
        .map(|i| {
            let (x, y) = ((i % width) as f32 - middle_x, (i / width) as f32 - middle_y);
            let (x, y) = (x * cos + y * sin + middle_x, y * cos - x * sin + middle_y);
            let (left, top) = (x.floor(), y.floor());
            let (right, down) = (x - left, y - top);
            let (left, top) = (left as isize, top as isize);
            let above = at(left, top) * (1.0 - right) + at(left + 1, top) * right;
            let below = at(left, top + 1) * (1.0 - right) + at(left + 1, top + 1) * right;
            above * (1.0 - down) + below * down
        })
        .collect()
}

/// Three means over squares: close to a bell.
fn blur(light: &mut Vec<f32>, width: usize, height: usize, radius: f32) {
    let weights: Vec<f32> = {
        let reach = (radius * 3.0).ceil() as i32;
        let bell = |x: i32| (-(x * x) as f32 / (2.0 * radius * radius).max(1e-6)).exp();
        let sum: f32 = (-reach..=reach).map(bell).sum();
        (-reach..=reach).map(|x| bell(x) / sum).collect()
    };
    if weights.len() < 3 {
        return;
    }
    let reach = weights.len() / 2;
    let blurred = |values: &[f32], wide: usize, tall: usize| {
        // Gives the transposed picture, so that two passes give it upright.
        let mut out = vec![0.0; values.len()];
        for y in 0..tall {
            for x in 0..wide {
                let sum: f32 = weights
                    .iter()
                    .enumerate()
                    .map(|(k, weight)| {
                        let at = (x + k).saturating_sub(reach).min(wide - 1);
                        weight * values[y * wide + at]
                    })
                    .sum();
                out[x * tall + y] = sum;
            }
        }
        out
    };
    let across = blurred(light, width, height);
    *light = blurred(&across, height, width);
}
