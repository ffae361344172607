//! hauld
fn main() {}
