//! The development mode: an upstream of its own, with faults on demand.

pub mod sts;
