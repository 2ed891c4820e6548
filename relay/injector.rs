//! The admission webhook that puts the relay into pods.

pub mod certificates;
