//! The choice of vector instructions, made at run time.
//!
//! A token ([`Avx512`], [`Avx2Fma`]) can only be made where the CPU has the instructions, so holding
//! one is the proof that makes calling a `#[target_feature]` function sound. [`Level`] is the choice
//! among the tokens; [`Level::best`] is what kernels use and [`Level::available`] is what tests walk.

use std::env;
use std::fmt;
use std::sync::OnceLock;

use crate::element::Element;

/// Proof that the CPU has AVX-512 (F, BW, DQ, VL, CD), and with it AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

/// Proof that the CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2Fma(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The token, if this CPU has the instructions.
    pub fn detect() -> Option<Self> {
        let present = Avx2Fma::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512cd");
        present.then_some(Self(()))
    }

    /// The weaker proof that this one implies.
    pub fn avx2(self) -> Avx2Fma {
        Avx2Fma(())
    }

    #[inline]
    pub(crate) fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi1,bmi2"
        )]
        fn widened<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the token exists only where the CPU has these instructions.
        unsafe { widened(work) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx2Fma {
    /// The token, if this CPU has the instructions.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        present.then_some(Self(()))
    }

    #[inline]
    pub(crate) fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
        fn widened<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the token exists only where the CPU has these instructions.
        unsafe { widened(work) }
    }
}

/// The instructions to use, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What the compilation target guarantees.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2Fma),
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Level {
    /// All levels of this CPU, weakest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2Fma::detect().map(Self::Avx2));
            levels.extend(Avx512::detect().map(Self::Avx512));
        }
        levels
    }

    /// The strongest level, decided once.
    ///
    /// The environment variable `TAPEFLOW_SIMD` (`portable`, `avx2` or `avx512`) sets an upper
    /// limit; a name that the CPU lacks or that means nothing leaves the strongest one below it.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::best_up_to(env::var("TAPEFLOW_SIMD").ok().as_deref()))
    }

    fn best_up_to(limit: Option<&str>) -> Self {
        let rank = match limit {
            Some("portable") => 0,
            Some("avx2") => 1,
            _ => 2,
        };
        let levels = Self::available();
        levels.into_iter().rfind(|level| level.rank() <= rank).unwrap_or(Self::Portable)
    }

    fn rank(self) -> usize {
        match self {
            Self::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => 2,
        }
    }

    /// The proof of AVX2, where this level has it.
    #[cfg(target_arch = "x86_64")]
    pub fn avx2(self) -> Option<Avx2Fma> {
        match self {
            Self::Portable => None,
            Self::Avx2(token) => Some(token),
            Self::Avx512(token) => Some(token.avx2()),
        }
    }

    /// Runs `work` compiled for this level, so that its loops use the wide registers.
    ///
    /// Only what is inlined is compiled so. Helpers that the closure calls in a loop should be
    /// `#[inline(always)]`; the closure itself is inlined while it is short, and always with the
    /// macro of the same name, for use in this crate.
    ///
    /// ```
    /// use tapeflow_kernels::simd::Level;
    /// let mut values = [1.0f32; 100];
    /// Level::best().vectorize(|| values.iter_mut().for_each(|value| *value *= 2.0));
    /// assert_eq!(values, [2.0; 100]);
    /// ```
    #[inline]
    pub fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        match self {
            Self::Portable => work(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => token.vectorize(work),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => token.vectorize(work),
        }
    }
}

/// Runs `work`, which writes elements of type `T`, at the best level where that type is compiled for
/// each ([`Element::VECTORIZED`]).
#[inline(always)]
pub(crate) fn vectorize_for<T: Element, R>(work: impl FnOnce() -> R) -> R {
    if T::VECTORIZED { Level::best().vectorize(work) } else { work() }
}

/// As [`Level::vectorize`], with a copy of the closure for each level: a function with one caller is
/// inlined there however long it is. With `for T`, work on elements of type `T`, which is compiled for
/// each level only where that type is ([`Element::VECTORIZED`]).
macro_rules! vectorize {
    (for $T:ty, $level:expr, $work:expr) => {
        if <$T as $crate::element::Element>::VECTORIZED {
            $crate::simd::vectorize!($level, $work)
        } else {
            $work()
        }
    };
    ($level:expr, $work:expr) => {
        match $level {
            $crate::simd::Level::Portable => $work(),
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Level::Avx2(token) => token.vectorize($work),
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Level::Avx512(token) => token.vectorize($work),
        }
    };
}
pub(crate) use vectorize;

/// Work that is compiled for each level however long it is: `run` is `#[inline(always)]`, which a
/// closure cannot be.
pub(crate) trait Task {
    /// Does it.
    fn run(self);
}

/// Runs `task`, which writes elements of type `T`, as [`vectorize_for`] does a closure.
#[inline]
pub(crate) fn run_for<T: Element>(task: impl Task) {
    if T::VECTORIZED { Level::best().run(task) } else { task.run() }
}

impl Level {
    /// Runs `task` compiled for this level.
    pub(crate) fn run(self, task: impl Task) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi1,bmi2"
        )]
        fn avx512(task: impl Task) {
            task.run();
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
        fn avx2(task: impl Task) {
            task.run();
        }
        match self {
            Self::Portable => task.run(),
            // SAFETY: the token exists only where the CPU has these instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => unsafe { avx2(task) },
            // SAFETY: the token exists only where the CPU has these instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => unsafe { avx512(task) },
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(["portable", "avx2", "avx512"][self.rank()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_an_upper_one() {
        let levels = Level::available();
        assert_eq!(levels[0], Level::Portable);
        assert!(levels.is_sorted_by_key(|level| level.rank()));
        assert_eq!(Level::best_up_to(Some("portable")), Level::Portable);
        assert!(Level::best_up_to(Some("avx2")).rank() <= 1);
        for limit in [None, Some("avx512"), Some("sse9")] {
            assert_eq!(Some(&Level::best_up_to(limit)), levels.last());
        }
    }

    #[test]
    fn vectorize_runs_the_work_once_at_every_level() {
        for level in Level::available() {
            let mut calls = 0;
            assert_eq!(level.vectorize(|| (calls += 1, 7).1), 7, "{level}");
            assert_eq!(calls, 1);
        }
    }
}
