//! haul's own rows, written with the least work: the tables of its migrations, the columns and the upsert of its store,
//! one transaction per group of items. `Plan` says how; what is best among its ways is what the product is held against.
//! And haul's messages, as far as a client that measures reads them.

pub mod haul;
pub mod product;
