//! Compiles the wire's protobuf files with a compiler written in Rust, so that no `protoc` is needed.

use std::error::Error;
use std::path::Path;
use tonic_prost_build::Config;

#[expect(clippy::disallowed_methods, reason = "cargo names the folder for what is built in the environment only")]
fn main() -> Result<(), Box<dyn Error>> {
    const FILES: [&str; 4] =
        ["lanyard/v1/issuer.proto", "lanyard/v1/admin.proto", "spiffe/workload.proto", "envoy/secret.proto"];
    const IMPORTED: [&str; 4] = [
        "lanyard/v1/admin_authority.proto",
        "lanyard/v1/admin_backup.proto",
        "lanyard/v1/admin_bundles.proto",
        "lanyard/v1/admin_sessions.proto",
    ];
    const ETCD: &str = "etcd/rpc.proto";
    for file in FILES.iter().chain(&IMPORTED).chain(&[ETCD]) {
        println!("cargo::rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(FILES, ["proto"])?;
    // What server reflection shows: the Workload API with what it imports, and nothing else of ours.
    let shown = protox::Compiler::new(["proto"])?
        .include_imports(true)
        .open_file("spiffe/workload.proto")?
        .encode_file_descriptor_set();
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("workload.bin"), shown)?;
    let mut config = Config::new();
    config.bytes(["."]);
    // An agent keeps it, where the server could not be told.
    let kept = "#[derive(serde::Deserialize, serde::Serialize)] #[serde(rename_all = \"snake_case\")]";
    config.enum_attribute("lanyard.v1.JobEnd", kept);
    tonic_prost_build::configure().codec_path("crate::wire::Fitting").compile_fds_with_config(descriptors, config)?;
    let mut config = Config::new();
    config.bytes(["."]);
    let etcd = protox::compile([ETCD], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds_with_config(etcd, config)?;
    Ok(())
}
