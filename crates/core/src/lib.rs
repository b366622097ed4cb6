//! tapeflow-core
