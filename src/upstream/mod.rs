//! The authority above ours: whoever signs our intermediates where no root key is with us.
//!
//! ```text
//!   Wanted (our key, our fields) ─▶ Upstream: disk │ vault │ cert_manager ─▶ a chain, not believed yet
//!   RootsFile ─▶ the roots that we publish ────────────────────────────────▶ Certified: judged, ready to sign
//! ```
//! **Invariant:** which roots we publish is what a file of the operator says, never what somebody's answer says.
//!
//! Not here: when to ask, and when what came may sign (`authority`).

mod error;
mod roots;
mod wanted;
mod certified;
mod disk;
mod vault_pki;
mod request_state;
mod cert_manager;
mod settings;
mod keeper;

pub use cert_manager::{CertManager, CertManagerError, ClusterIssuer};
pub use certified::{AnswerError, Certified};
pub use disk::Disk;
pub use error::{Unfit, UpstreamError};
pub use keeper::{Heard, UpstreamEnds, UpstreamKeeper, ask_once};
pub use roots::{RootsFile, UpstreamRoot};
pub use settings::{UpstreamKind, UpstreamSettings};
pub use vault_pki::{PkiIssuer, VaultPki};
pub use wanted::{Certifying, Upstream, Wanted};
