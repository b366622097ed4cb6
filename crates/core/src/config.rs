//! Settings of the process: `tf.config`.

/// How many threads compute: `tf.config.threading`.
pub mod threading {
    use tapeflow_kernels::parallel;

    use crate::error::{Error, Result};

    /// Sets how many threads an op may use; at first all cores, or as many as the environment
    /// variable `TAPEFLOW_NUM_THREADS` says. The number changes no result.
    ///
    /// # Errors
    /// `num_threads` is 0.
    ///
    /// ```
    /// use tapeflow_core::config::threading;
    ///
    /// threading::set_intra_op_parallelism_threads(1)?;
    /// assert_eq!(threading::get_intra_op_parallelism_threads(), 1);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn set_intra_op_parallelism_threads(num_threads: usize) -> Result<()> {
        if num_threads == 0 {
            return Err(Error::invalid_argument("an op needs at least one thread"));
        }
        parallel::set_threads(num_threads);
        Ok(())
    }

    /// How many threads an op may use.
    pub fn get_intra_op_parallelism_threads() -> usize {
        parallel::threads()
    }
}
