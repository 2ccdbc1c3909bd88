//! What the socket says of itself, held against the standard's definition, and the bytes of each message.

use crate::raw::{Raw, field, fields};
use crate::support::beside::{FIRST_ID, SECOND_ID, Site, TWO_PROFILES, channel, within};
use lanyard::wire::WORKLOAD_DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use std::path::Path;
use tonic_reflection::pb::{v1, v1alpha};

/// Section 5 and 6 of the SPIFFE Workload API without its incubating calls; a line for each call and each field.
const STANDARD: &str = "\
rpc FetchJWTBundles(JWTBundlesRequest) returns (stream JWTBundlesResponse)
rpc FetchJWTSVID(JWTSVIDRequest) returns (JWTSVIDResponse)
rpc FetchX509Bundles(X509BundlesRequest) returns (stream X509BundlesResponse)
rpc FetchX509SVID(X509SVIDRequest) returns (stream X509SVIDResponse)
rpc ValidateJWTSVID(ValidateJWTSVIDRequest) returns (ValidateJWTSVIDResponse)
JWTBundlesRequest
JWTBundlesResponse
JWTBundlesResponse.bundles = 1: map string bytes
JWTSVID
JWTSVID.hint = 3: string
JWTSVID.spiffe_id = 1: string
JWTSVID.svid = 2: string
JWTSVIDRequest
JWTSVIDRequest.audience = 1: repeated string
JWTSVIDRequest.spiffe_id = 2: string
JWTSVIDResponse
JWTSVIDResponse.svids = 1: repeated JWTSVID
ValidateJWTSVIDRequest
ValidateJWTSVIDRequest.audience = 1: string
ValidateJWTSVIDRequest.svid = 2: string
ValidateJWTSVIDResponse
ValidateJWTSVIDResponse.claims = 2: google.protobuf.Struct
ValidateJWTSVIDResponse.spiffe_id = 1: string
X509BundlesRequest
X509BundlesResponse
X509BundlesResponse.bundles = 2: map string bytes
X509BundlesResponse.crl = 1: repeated bytes
X509SVID
X509SVID.bundle = 4: bytes
X509SVID.hint = 5: string
X509SVID.spiffe_id = 1: string
X509SVID.x509_svid = 2: bytes
X509SVID.x509_svid_key = 3: bytes
X509SVIDRequest
X509SVIDResponse
X509SVIDResponse.crl = 2: repeated bytes
X509SVIDResponse.federated_bundles = 3: map string bytes
X509SVIDResponse.svids = 1: repeated X509SVID";

/// A definition in the lines of [`STANDARD`].
fn lines(file: &FileDescriptorProto) -> String {
    assert_eq!((file.package(), file.syntax()), ("", "proto3"));
    let [service] = &*file.service else { panic!("one service, {:?}", file.service) };
    assert_eq!(service.name(), "SpiffeWorkloadAPI");
    assert!(file.extension.is_empty() && file.enum_type.is_empty());
    let mut calls: Vec<_> = service
        .method
        .iter()
        .map(|call| {
            assert!(!call.client_streaming());
            let stream = if call.server_streaming() { "stream " } else { "" };
            let [input, output] = [call.input_type(), call.output_type()].map(|name| name.trim_start_matches('.'));
            format!("rpc {}({input}) returns ({stream}{output})", call.name())
        })
        .collect();
    let mut messages: Vec<_> = file.message_type.iter().flat_map(message_lines).collect();
    calls.sort();
    messages.sort();
    [calls, messages].concat().join("\n")
}

fn message_lines(message: &DescriptorProto) -> Vec<String> {
    let name = message.name();
    assert!(message.oneof_decl.is_empty(), "{name} has no choices and no optional fields");
    let mut lines = vec![name.to_owned()];
    for field in &message.field {
        let type_name = field.type_name().trim_start_matches('.');
        let entry = message.nested_type.iter().find(|nested| type_name == format!("{name}.{}", nested.name()));
        let kind = |kind| {
            if kind == Type::Message { type_name.to_owned() } else { format!("{kind:?}").to_lowercase() }
        };
        let kind = match (entry, field.label()) {
            (Some(entry), _) => {
                assert!(entry.options.as_ref().unwrap().map_entry());
                let [key, value] = &*entry.field else { panic!("an entry has two fields") };
                format!("map {} {}", kind(key.r#type()), kind(value.r#type()))
            }
            (None, Label::Repeated) => format!("repeated {}", kind(field.r#type())),
            (None, _) => kind(field.r#type()),
        };
        lines.push(format!("{name}.{} = {}: {kind}", field.name(), field.number()));
    }
    lines
}

/// Asks over reflection v1, without the Workload API's header.
async fn ask_v1(
    socket: &Path,
    question: v1::server_reflection_request::MessageRequest,
) -> v1::server_reflection_response::MessageResponse {
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(socket));
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = within(client.server_reflection_info(tokio_stream::once(request))).await.unwrap().into_inner();
    within(answers.message()).await.unwrap().unwrap().message_response.unwrap()
}

/// Shows: EP-15, WAPI-1, WAPI-3.
#[tokio::test]
async fn the_service_is_the_standard_s_and_nothing_more() {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let built = FileDescriptorSet::decode(WORKLOAD_DESCRIPTORS).unwrap();
    let names: Vec<_> = built.file.iter().map(FileDescriptorProto::name).collect();
    assert_eq!(names, ["google/protobuf/struct.proto", "spiffe/workload.proto"]);
    assert_eq!(lines(&built.file[1]), STANDARD);

    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    let asked = MessageRequest::FileContainingSymbol("SpiffeWorkloadAPI".to_owned());
    let MessageResponse::FileDescriptorResponse(told) = ask_v1(&agent.socket, asked).await else { panic!("a file") };
    let told = FileDescriptorProto::decode(&*told.file_descriptor_proto[0]).unwrap();
    assert_eq!(lines(&told), STANDARD, "and that is what the socket says of itself");
}

/// Shows: EP-16.
#[tokio::test]
async fn tools_that_look_by_reflection_see_the_service_in_both_versions_without_the_header() {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    const SERVICES: [&str; 3] =
        ["SpiffeWorkloadAPI", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    let MessageResponse::ListServicesResponse(listed) =
        ask_v1(&agent.socket, MessageRequest::ListServices(String::new())).await
    else {
        panic!("a list")
    };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, SERVICES);

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&agent.socket));
    let question = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = within(client.server_reflection_info(tokio_stream::once(request))).await.unwrap().into_inner();
    let answer = within(answers.message()).await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(listed) = answer else {
        panic!("a list")
    };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, SERVICES);
}

/// The numbers of a message's fields, in order.
fn numbers(message: &[u8]) -> Vec<u64> {
    fields(message).iter().map(|(number, _)| *number).collect()
}

/// The content of the first field of this number.
fn content(message: &[u8], number: u64) -> Vec<u8> {
    fields(message).iter().find(|(known, _)| *known == number).unwrap().1.to_vec()
}

/// Shows: WAPI-1, WAPI-21.
#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_the_standard_s_fields_in_its_bytes() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut raw = Raw::connect(&agent.socket).await;
    let own = b"spiffe://ci.example.org".to_vec();

    let stream = raw.ask("FetchX509SVID", b"").await;
    let answer = within(raw.messages(stream, 1)).await;
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    let svids = answer.messages()[0].to_vec();
    assert_eq!(numbers(&svids), [1, 1], "two SVIDs, neither CRL nor federation");
    for ((_, svid), (id, hint)) in fields(&svids).into_iter().zip([(FIRST_ID, "istio"), (SECOND_ID, "linkerd")]) {
        assert_eq!(numbers(svid), [1, 2, 3, 4, 5]);
        assert_eq!((content(svid, 1), content(svid, 5)), (id.into(), hint.into()));
    }
    let roots = content(&content(&svids, 1), 4);

    let stream = raw.ask("FetchX509Bundles", b"").await;
    let answer = within(raw.messages(stream, 1)).await;
    assert_eq!(answer.messages()[0], field(2, &[field(1, &own), field(2, &roots)].concat()), "one entry, and no CRL");

    let stream = raw.ask("FetchJWTBundles", b"").await;
    let answer = within(raw.messages(stream, 1)).await;
    let entry = content(answer.messages()[0], 1);
    assert_eq!((numbers(answer.messages()[0]), numbers(&entry), content(&entry, 1)), (vec![1], vec![1, 2], own));

    let stream = raw.ask("FetchJWTSVID", &field(1, b"https://service.test")).await;
    let answer = within(raw.answer(stream)).await;
    let svids = answer.messages()[0];
    assert_eq!(numbers(svids), [1, 1]);
    let first = content(svids, 1);
    assert_eq!((numbers(&first), content(&first, 1)), (vec![1, 2, 3], FIRST_ID.into()));

    let question = [field(1, b"https://service.test"), field(2, &content(&first, 2))].concat();
    let stream = raw.ask("ValidateJWTSVID", &question).await;
    let answer = within(raw.answer(stream)).await;
    assert_eq!((numbers(answer.messages()[0]), content(answer.messages()[0], 1)), (vec![1, 2], FIRST_ID.into()));
}
