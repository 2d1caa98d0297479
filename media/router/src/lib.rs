//! The packet router of Anke: it forwards WebRTC media and never transcodes.
//!
//! `core` is sans-IO: datagrams and a time go in, datagrams and events come out. `io` owns the only sockets and the
//! only clock. `python` (feature of that name) is the face that `media/_router.pyi` describes.
//!
//! Functions that read bytes from the network end in `_untrusted`; they answer `BadPacket` and never panic.

pub mod arrivals;
pub mod bandwidth;
pub mod core;
pub mod demux;
pub mod error;
pub mod feedback;
pub mod history;
pub mod io;
pub mod meter;
pub mod outbox;
pub mod parameters;
pub mod payload;
pub mod picture;
pub mod rewrite;
pub mod rtcp;
pub mod rtp;
pub mod speech;
pub mod srtp;
pub mod stats;
pub mod stream;
pub mod stun;
pub mod tap;
#[cfg(test)]
mod testing;

#[cfg(feature = "python")]
mod python;
