//! gRPC server reflection on the Workload API's socket, for people who look at it with tools such as grpcurl (EP-16).
//!
//! It shows the Workload API and itself, in both versions that tools speak; nobody needs the Workload API's header for it.

use super::served::with_job;
use crate::wire::WORKLOAD_DESCRIPTORS;
use tonic::service::{InterceptorLayer, Routes};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_reflection::server::{Builder, Error};

/// A question names a symbol or a file.
const QUESTION_BYTES_MAX: usize = 4 * 1024;

/// Adds both versions of the service.
pub(super) fn with_reflection(routes: Routes) -> Result<Routes, Error> {
    let admit = || tower::ServiceBuilder::new().layer(InterceptorLayer::new(with_job));
    let v1 = builder().build_v1()?.max_decoding_message_size(QUESTION_BYTES_MAX);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(QUESTION_BYTES_MAX);
    Ok(routes.add_service(admit().service(v1)).add_service(admit().service(v1alpha)))
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(WORKLOAD_DESCRIPTORS)
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
}
