//! tapeflow-mnist
