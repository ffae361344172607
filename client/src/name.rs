//! Resource names. The wire knows full names only; people may leave the collection out.

const COLLECTION: &str = "batches/";

/// The full name of a batch, from its id or its full name.
///
/// ```
/// assert_eq!(haul_client::batch_name("nightly"), "batches/nightly");
/// assert_eq!(haul_client::batch_name("batches/nightly"), "batches/nightly");
/// ```
pub fn batch_name(id_or_name: &str) -> String {
    if id_or_name.starts_with(COLLECTION) {
        id_or_name.to_owned()
    } else {
        format!("{COLLECTION}{id_or_name}")
    }
}
