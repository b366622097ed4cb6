//! tapeflow-data
