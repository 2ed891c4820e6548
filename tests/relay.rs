//! The whole relay, in process and as a program.

mod common;
