//! The image: the same bytes for the same program, one layer without a shell, nobody's rights; and what it is made of.

use crate::server::{lanyard, words};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/image");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a command says, once it has succeeded.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The image of a program, and its digest.
fn assembled(program: &Path, sbom: &Path, image: PathBuf) -> (PathBuf, String) {
    let mut assemble = Command::new(format!("{IMAGE}/assemble"));
    let told = said(assemble.arg("--sbom").arg(sbom).args(["--roots", "/dev/null"]).arg(program).arg(&image));
    (image, told.split(' ').next().unwrap().to_owned())
}

/// A file of an image's layout.
fn file(image: &Path, path: &str) -> Vec<u8> {
    Command::new("tar").arg("xOf").arg(image).arg(path).output().unwrap().stdout
}

fn blob(image: &Path, of: &Value) -> Vec<u8> {
    let bytes = file(image, &of["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/"));
    assert_eq!(bytes.len(), usize::try_from(of["size"].as_u64().unwrap()).unwrap());
    let sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.as_ref().unwrap().write_all(&bytes).unwrap();
    let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(of["digest"], format!("sha256:{}", sum.split(' ').next().unwrap()));
    bytes
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_image_is_one_layer_of_five_files_for_a_user_without_rights_and_twice_the_same() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("program"), [b"\x7fELF".as_slice(), &[7; 10_000]].concat()).unwrap();
    fs::write(at("sbom"), "{}").unwrap();
    let (image, digest) = assembled(&at("program"), &at("sbom"), at("image.tar"));
    // Another name, another place, another time and mode of the files that go in.
    fs::create_dir(at("elsewhere")).unwrap();
    fs::copy(at("program"), at("elsewhere/p")).unwrap();
    said(Command::new("touch").args(["-d", "2001-01-01"]).arg(at("elsewhere/p")));
    let again = assembled(&at("elsewhere/p"), &at("sbom"), at("elsewhere/i.tar"));
    assert_eq!(digest, again.1);
    assert!(fs::read(&image).unwrap() == fs::read(again.0).unwrap(), "the same bytes");

    assert_eq!(parsed(&file(&image, "oci-layout")), json!({ "imageLayoutVersion": "1.0.0" }));
    let top = parsed(&file(&image, "index.json"))["manifests"][0].clone();
    assert_eq!(top["digest"], digest);
    let manifest = parsed(&blob(&image, &top));
    let config = parsed(&blob(&image, &manifest["config"]));
    assert_eq!(config["config"]["User"], "10001:10001");
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/lanyard"]));
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    fs::write(at("layer.tar.gz"), blob(&image, &manifest["layers"][0])).unwrap();
    said(Command::new("gunzip").arg(at("layer.tar.gz")));
    let sum = said(Command::new("sha256sum").arg(at("layer.tar")));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sum.split(' ').next().unwrap()));

    let listed = said(Command::new("tar").args(["tvf"]).arg(at("layer.tar")).env("TZ", "UTC"));
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .map(|line| {
            assert!(line.contains(" 0/0 ") && line.contains("1970-01-01 00:00"), "{line}");
            (line.rsplit(' ').next().unwrap(), line.split(' ').next().unwrap())
        })
        .filter(|(path, _)| !path.ends_with('/'))
        .collect();
    let [plain, program] = ["-rw-r--r--", "-rwxr-xr-x"];
    let wanted = [
        ("etc/group", plain),
        ("etc/passwd", plain),
        ("etc/ssl/certs/ca-certificates.crt", plain),
        ("usr/bin/lanyard", program),
        ("usr/share/lanyard/lanyard.cdx.json", plain),
    ];
    assert_eq!(listed, wanted.into(), "and nothing that could be a shell");
}

/// The other tag: this program is not static, and starts where nothing is but the image.
#[test]
fn an_image_with_the_libraries_that_its_program_loads_starts_alone_and_names_them() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    said(Command::new("strip").arg("-o").arg(at("program")).arg(lanyard().get_program()));
    fs::write(at("sbom"), r#"{"components":[{"name":"a crate"}]}"#).unwrap();
    let assemble = |program: &Path, image: &str| {
        let mut assemble = Command::new(format!("{IMAGE}/assemble"));
        said(assemble.args(["--loaded", "--sbom"]).arg(at("sbom")).arg(program).arg(at(image)))
    };
    let small = Path::new("/bin/sh");
    assert_eq!(assemble(small, "image.tar"), assemble(small, "again.tar"), "twice the same");
    assemble(&at("program"), "image.tar");
    let image = at("image.tar");
    let top = parsed(&file(&image, "index.json"))["manifests"][0].clone();
    let tag = top["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
    assert_eq!(tag, concat!(env!("CARGO_PKG_VERSION"), "-glibc"));
    fs::write(at("layer.tar.gz"), blob(&image, &parsed(&blob(&image, &top))["layers"][0])).unwrap();
    fs::create_dir(at("root")).unwrap();
    said(Command::new("tar").arg("xzf").arg(at("layer.tar.gz")).arg("-C").arg(at("root")));

    let alone = |arguments: &[&str]| {
        let mut program = Command::new("unshare");
        program.args(["--map-root-user", "chroot"]).arg(at("root")).arg("/usr/bin/lanyard").args(arguments);
        program.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
    };
    let version = words(&alone(&["--version"]));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    // A module can be loaded here: what is missing is the module, and not the way to load it.
    let place = "[keys]\nroot_place = \"hsm\"\n[[keys.place]]\nname = \"hsm\"\nin = \"pkcs11\"\nmodule = \"/m.so\"\ntoken = \"t\"\npin_file = \"/p\"\n";
    fs::write(at("root/server.toml"), place).unwrap();
    let checked = words(&alone(&["config", "check", "/server.toml"]));
    assert!(checked.contains("server.toml") && !checked.contains("static build"), "{checked}");

    let bom = parsed(&fs::read(at("root/usr/share/lanyard/lanyard.cdx.json")).unwrap());
    let named: Vec<&str> = bom["components"].as_array().unwrap().iter().filter_map(|of| of["name"].as_str()).collect();
    assert_eq!(named[0], "a crate");
    let libraries = said(Command::new("find").arg(at("root")).args(["-path", "*/lib*/*.so*", "-printf", "/%P\n"]));
    let mut libraries: Vec<&str> = libraries.lines().collect();
    libraries.sort_unstable();
    assert_eq!(named[1..], libraries, "each that is there, and no other");
    assert!(libraries.iter().any(|path| path.ends_with("/libc.so.6")), "{libraries:?}");
}

/// An image has the public authorities that its builder named, or none.
#[test]
fn where_no_authority_is_believed_by_all_a_server_serves_whose_issuer_names_its_own() {
    let folder = TempDir::new().unwrap();
    let mut dev = lanyard();
    dev.args(["dev", "--once", "--dir"]).arg(folder.path().join("dev")).env("XDG_RUNTIME_DIR", folder.path());
    let output = dev.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", folder.path()).output().unwrap();
    assert!(output.status.success() && words(&output).contains("spiffe://"), "{}", words(&output));
}

/// The same user in the image and wherever the chart and the runner's pod name one.
#[test]
fn chart_image_and_runner_name_the_same_user() {
    let script = fs::read_to_string(format!("{IMAGE}/assemble")).unwrap();
    let uid = script.lines().find_map(|line| line.strip_prefix("UID = ")).unwrap();
    for (page, line) in [
        ("helm/lanyard/templates/_helpers.tpl", format!("runAsUser: {uid}")),
        ("docs/runners/kubernetes.toml", format!("runAsUser: {uid}")),
    ] {
        assert!(fs::read_to_string(format!("{ROOT}/{page}")).unwrap().contains(&line), "{page}: {line}");
    }
}

#[test]
fn what_the_program_is_made_of_is_what_is_linked_into_it_and_nothing_that_tests_it() {
    let sbom = || said(Command::new(format!("{IMAGE}/sbom")).arg("x86_64-unknown-linux-gnu"));
    let told = sbom();
    assert_eq!(told, sbom(), "twice the same");
    let bom = parsed(told.as_bytes());
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
    let components = bom["components"].as_array().unwrap();
    let names: Vec<&str> = components.iter().map(|of| of["name"].as_str().unwrap()).collect();
    for linked in ["aws-lc-rs", "rustls", "sled", "tonic"] {
        assert!(names.contains(&linked), "{linked}: {names:?}");
    }
    for other in ["proptest", "ring", "serde_derive", "tempfile", "tonic-prost-build"] {
        assert!(!names.contains(&other), "{other} is no part of the program");
    }
    for of in components {
        let whole = of["licenses"][0]["expression"].is_string() && of["hashes"][0]["content"].is_string();
        assert!(whole, "{of}");
    }
    assert_eq!(bom["dependencies"].as_array().unwrap().len(), components.len() + 1);
}
