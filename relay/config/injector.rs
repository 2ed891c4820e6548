//! The injector's configuration.

pub mod certificates;
