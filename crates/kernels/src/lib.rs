//! tapeflow-kernels
