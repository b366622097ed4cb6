//! `digits serve` as its clients meet it: a real process, HTTP by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod limits;
mod page;
mod read;
mod replace;
mod rest;
mod stop;
