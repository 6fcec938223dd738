//! PostgreSQL behind a DDP server.
