//! What goes wrong with datasets.

use tonic::{Code, Status};

use super::Answer;
use crate::domain::dataset::Dataset;

pub(super) fn not_found(dataset: &str) -> Status {
    let known = Dataset::ALL.map(Dataset::as_str).join(", ");
    let message = format!("there is no datasets/{dataset}: there are {known}");
    let name = format!("datasets/{dataset}");
    let mut answer = Answer::new(Code::NotFound, "DATASET_NOT_FOUND", message).with("name", name.as_str());
    answer.details.set_resource_info("haul.v1.Dataset", name, "", "");
    answer.status()
}
