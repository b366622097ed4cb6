//! Which digits are taken for which.

use std::fmt;

use crate::model::CLASSES;

/// Counts of images: rows are the true digits, columns what was read.
#[derive(Debug, Clone, Default)]
pub struct Confusion([[u64; CLASSES]; CLASSES]);

impl Confusion {
    /// Counts one image.
    pub fn add(&mut self, label: usize, read: usize) {
        self.0[label][read] += 1;
    }

    pub fn rows(&self) -> &[[u64; CLASSES]; CLASSES] {
        &self.0
    }

    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }

    pub fn correct(&self) -> u64 {
        (0..CLASSES).map(|digit| self.0[digit][digit]).sum()
    }

    /// The share read right, 0 for no images.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.total().max(1) as f64
    }
}

impl fmt::Display for Confusion {
    /// A table; zeros are dots so that mistakes stand out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "true\\read")?;
        (0..CLASSES).try_for_each(|digit| write!(f, "{digit:>6}"))?;
        writeln!(f, "   recall")?;
        for (digit, row) in self.0.iter().enumerate() {
            write!(f, "{digit:>9}")?;
            for &count in row {
                match count {
                    0 => write!(f, "{:>6}", "·")?,
                    _ => write!(f, "{count:>6}")?,
                }
            }
            let total: u64 = row.iter().sum();
            let recall = 100.0 * row[digit] as f64 / total.max(1) as f64;
            writeln!(f, "{recall:>8.1}%")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_the_diagonal() {
        let mut confusion = Confusion::default();
        for (label, read) in [(1, 1), (2, 2), (3, 8), (3, 3)] {
            confusion.add(label, read);
        }
        assert_eq!((confusion.total(), confusion.correct()), (4, 3));
        assert_eq!(confusion.accuracy(), 0.75);
        let table = confusion.to_string();
        assert!(table.lines().nth(4).unwrap().ends_with("50.0%"), "{table}");
        assert_eq!(Confusion::default().accuracy(), 0.0);
    }
}
