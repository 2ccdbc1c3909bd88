//! How we shake hands: versions, our certificate, and whose key the other side holds.
//!
//! ```text
//!   server: DoorCa ─▶ DoorCertificate ─▶ IssuerDoor, BundleDoor ─▶ Handshaken { stream, PeerKey }
//!                        ShownSvid ─────────────────┘
//!   client: ServerTrust + SessionCertificate ─▶ TlsClient ─▶ stream
//!           SpiffePeer: a server known by its SVID
//!   operators: BundleDoor ─▶ Handshaken::shown ─▶ OperatorCa: chain, dates and names, at each call
//! ```
//! TLS 1.3 only, but at the bundle door, which proves nothing of its clients, and with servers that may be older. At the issuer door the client's certificate carries a key and nothing else: chain, names and dates
//! in it are not judged, possession is proven by the handshake's own signature. Hence no resumption, tickets or early
//! data: a resumed connection would show the certificate again without a new proof.
//! Not here: who may use a key (`session`), HTTP (`wire`, `server`).

mod error;
mod door_ca;
mod door_certificate;
mod shown_svid;
mod issuer_door;
mod bundle_door;
mod peer_key;
mod operator_ca;
mod server_trust;
mod session_certificate;
mod client;
mod spiffe_peer;

pub use bundle_door::BundleDoor;
pub use client::{ClientStream, TlsClient};
pub use door_ca::DoorCa;
pub use door_certificate::DoorCertificate;
pub use error::{CertificateFault, TlsError};
pub use issuer_door::{Handshaken, IssuerDoor, ServerStream};
pub use operator_ca::{NotOfTheCa, OperatorCa, ShownChain};
pub use peer_key::{NotASessionKey, PeerKey};
pub use server_trust::ServerTrust;
pub use session_certificate::SessionCertificate;
pub use shown_svid::ShownSvid;
pub use spiffe_peer::{SpiffePeer, not_the_peer};
