//! Stub.
/// Stub.
#[derive(Debug)]
pub struct Mistakes;
impl std::fmt::Display for Mistakes { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
