//! The one road: token, claims, rule, standing, facts, grant, draft, record, sign, read back, hand out.
//!
//! Read `flow.rs` first. Every way in (gRPC, REST, renewal, explain) is that road or a prefix of it; the types of the
//! rooms above prove the order of its steps.

mod request;
mod refusal;
mod issued;
mod shares;
mod turns;
mod sampled;
mod policy_in_use;
mod recalled;
mod flow;
mod explained;
mod carried_out;
mod ends;
mod erasure;
mod departures;
mod asked_again;
mod hearing;
mod recorder;
#[cfg(test)]
mod tests;

pub use erasure::{Erasure, ErasureError, Forgotten};
pub use flow::Issuance;
pub use hearing::{Heard, Hearing, HookRefusal};
pub use issued::{Credential, IssuedSvid, ReadBackError};
pub use policy_in_use::PolicyInUse;
pub use recalled::Recalled;
pub use recorder::Recorder;
pub use refusal::Refusal;
pub use request::{Bearer, Csr, Request, RequestId, Wanted};
pub use shares::Shares;
pub use turns::Turns;
