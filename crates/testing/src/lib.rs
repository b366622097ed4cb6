//! tapeflow-testing
