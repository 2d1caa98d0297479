//! What the fuzz targets share: a router between peers with real SRTP, and the invariants that hold whatever they send.

pub mod hostile;
pub mod world;
