//! What the fuzz targets share.

pub mod answer;
pub mod heap;
pub mod io;
pub mod websocket;
