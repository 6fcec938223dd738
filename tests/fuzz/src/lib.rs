//! What the fuzz targets share.

pub mod answer;
pub mod client;
pub mod heap;
pub mod io;
pub mod session;
pub mod sockjs;
pub mod websocket;
