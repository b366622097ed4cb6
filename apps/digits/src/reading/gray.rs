//! Pictures in shades of gray.

/// A picture row by row, black 0 and white 255.
#[derive(Clone)]
pub struct Gray {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Gray {
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width..(y + 1) * self.width]
    }

    /// The picture with each block of `factor` x `factor` pixels averaged to one; blocks at the right
    /// and lower edge may be smaller.
    pub fn reduced(&self, factor: usize) -> Gray {
        if factor <= 1 {
            return self.clone();
        }
        let (width, height) = (self.width.div_ceil(factor), self.height.div_ceil(factor));
        let mut pixels = Vec::with_capacity(width * height);
        let mut sums = vec![0u32; width];
        for rows in self.pixels.chunks(self.width * factor) {
            sums.fill(0);
            for row in rows.chunks_exact(self.width) {
                for (sum, block) in sums.iter_mut().zip(row.chunks(factor)) {
                    *sum += block.iter().map(|&pixel| u32::from(pixel)).sum::<u32>();
                }
            }
            let tall = rows.len() / self.width;
            pixels.extend(sums.iter().enumerate().map(|(x, &sum)| {
                let wide = factor.min(self.width - x * factor);
                let count = (wide * tall) as u32;
                ((sum + count / 2) / count) as u8
            }));
        }
        Gray { width, height, pixels }
    }

    pub fn values(&self) -> Vec<f32> {
        self.pixels.iter().map(|&pixel| f32::from(pixel)).collect()
    }

    pub fn inverted(mut self) -> Gray {
        self.pixels.iter_mut().for_each(|pixel| *pixel = !*pixel);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_averaged_also_where_they_are_cut_off() {
        let pixels = vec![0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140];
        let picture = Gray { width: 5, height: 3, pixels };
        let reduced = picture.reduced(2);
        assert_eq!((reduced.width, reduced.height), (3, 2));
        assert_eq!(reduced.pixels, [30, 50, 65, 105, 125, 140]);
        assert_eq!(picture.reduced(1).pixels, picture.pixels);
        assert_eq!(picture.reduced(100).pixels, [70]);
    }
}
