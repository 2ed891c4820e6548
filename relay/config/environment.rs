//! Stub.
/// Stub.
#[derive(Clone, Debug, Default)]
pub struct Environment(std::sync::Arc<std::collections::HashMap<String, String>>);
impl Environment {
    /// Stub.
    pub fn of_process() -> Self { Self(std::sync::Arc::new(std::env::vars().collect())) }
    /// Stub.
    pub fn get(&self, name: &str) -> Option<&str> { self.0.get(name).map(String::as_str) }
}
