//! PostgreSQL behind a DDP server.

pub mod table;
pub mod value;
