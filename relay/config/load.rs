//! Stub.
use super::*;
/// Stub.
pub fn load(_: Option<&std::path::Path>, _: &environment::Environment) -> Result<Config, mistakes::Mistakes> { Err(mistakes::Mistakes) }
/// Stub.
pub fn schema() -> serde_json::Value { serde_json::Value::Null }
