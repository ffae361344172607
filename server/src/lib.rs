//! hauld
