//! Who a workload is: trust domain, SPIFFE ID, and the templates that make IDs from claims.

mod spiffe_id;
mod narrow;
mod template;
mod trust_domain;

pub use narrow::Narrow;
pub use spiffe_id::{SpiffeId, SpiffeIdError};
pub use template::{FillError, IdTemplate, TemplateError};
pub use trust_domain::{TrustDomain, TrustDomainError};
