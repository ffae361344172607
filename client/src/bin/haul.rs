//! haul
fn main() {}
