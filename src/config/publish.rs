//! `[[publish]]`: where our own trust bundle is written.

use super::Environment;
use super::ca_file::read_ca_file;
use super::issuer::check_https;
use super::section::Section;
use super::vault::secret_file;
use crate::crypto::SharedSecret;
use crate::publish::{
    Addressing, Bucket, BucketKeys, ClusterObject, Credentials, FileTarget, Form, MapKeys, ObjectKind, Target,
};

/// The places; one of them.
const PLACES: [&str; 4] = ["config_map", "cluster_trust_bundle", "file", "s3"];

/// `ConfigMap`s that belong to a mesh or to Kubernetes, wherever they are: a root among theirs speaks for all workloads.
const OF_OTHERS: [&str; 4] =
    ["istio-ca-root-cert", "kube-root-ca.crt", "linkerd-identity-trust-roots", "linkerd-trust-roots"];

/// One table a target.
pub(super) fn read_publish(root: &mut Section<'_, '_>, environment: &dyn Environment) -> Vec<Target> {
    let mut all: Vec<Target> = Vec::new();
    for mut section in root.sections("publish") {
        let given: Vec<_> = PLACES.into_iter().filter(|place| section.holds(place)).collect();
        let (place, line) = (given.first().copied(), section.line());
        let target = match given.as_slice() {
            [] => section.missing("file", "write it, or config_map, cluster_trust_bundle or s3"),
            [one] => read_target(&mut section, one, environment),
            [_, second, ..] => {
                section.problem(second, line, format!("given beside {}", given.join(", ")), "keep one of them");
                for key in given.into_iter().chain(["form", "mode", "kubeconfig", "take_over"]) {
                    section.skip(key);
                }
                None
            }
        };
        let name = target.as_ref().map(ToString::to_string);
        if name.is_some() && all.iter().any(|other| Some(other.to_string()) == name) {
            let found = format!("{}, which another [[publish]] has already", name.unwrap_or_default());
            section.problem(place.unwrap_or_default(), line, found, "keep one of the two");
        } else {
            all.extend(target);
        }
        section.finish();
    }
    all
}

fn read_target(section: &mut Section<'_, '_>, place: &str, environment: &dyn Environment) -> Option<Target> {
    match place {
        "file" => read_file(section).map(Target::File),
        "s3" => {
            let form = read_form(section);
            read_bucket(section, form, environment).map(|bucket| Target::Bucket(Box::new(bucket)))
        }
        _ => read_object(section, place).map(Target::Cluster),
    }
}

fn read_form(section: &mut Section<'_, '_>) -> Option<Form> {
    let read = |text: &str| match text {
        "pem" => Ok(Form::Pem),
        "spiffe" => Ok(Form::Spiffe),
        _ => Err("neither"),
    };
    let would_do = "\"pem\" for the certificates, or \"spiffe\" for the SPIFFE bundle document";
    let is_given = section.holds("form");
    let form = section.parsed("form", would_do, read);
    if is_given { form } else { section.missing("form", &format!("write {would_do}")) }
}

fn read_file(section: &mut Section<'_, '_>) -> Option<FileTarget> {
    let (path, form) = (section.path("file"), read_form(section));
    let octal = |text: &str| match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & 0o400 != 0 && mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => Err("no mode of a file that can be read"),
    };
    let mode = section.parsed("mode", "the mode in octal digits, such as \"0644\"", octal);
    Some(FileTarget { path: path?, form: form?, mode: mode.unwrap_or(FileTarget::MODE) })
}

fn read_object(section: &mut Section<'_, '_>, place: &str) -> Option<ClusterObject> {
    let kubeconfig = section.path("kubeconfig");
    let take_over = section.flag("take_over").unwrap_or(false);
    let read = match place {
        "config_map" => read_config_map(section.section("config_map")),
        _ => read_cluster_trust_bundle(section.section("cluster_trust_bundle")),
    };
    let (name, kind) = read?;
    Some(ClusterObject { kind, name, kubeconfig, take_over })
}

fn read_config_map(mut map: Section<'_, '_>) -> Option<(String, ObjectKind)> {
    let namespace = word(&mut map, "namespace", "the namespace, such as \"istio-system\"", label);
    let name = word(&mut map, "name", "a name of its own, such as \"lanyard-trust-bundle\"", |text| {
        if OF_OTHERS.contains(&text) { Err("whose owner is a mesh or Kubernetes") } else { object_name(text) }
    });
    let would_do = "a key of its data, such as \"ca.crt\" or \"bundle.json\"";
    let keys = MapKeys {
        pem: map.parsed("pem_key", would_do, data_key),
        spiffe: map.parsed("spiffe_key", would_do, data_key),
    };
    let line = map.line();
    if keys.pem.is_none() && keys.spiffe.is_none() {
        return map.missing("pem_key", "write it, or spiffe_key, or both: under which key the bundle shall stand");
    }
    if keys.pem == keys.spiffe {
        map.problem("spiffe_key", line, "the same as pem_key", "write two keys, or one of them alone");
        return None;
    }
    map.finish();
    Some((name?, ObjectKind::ConfigMap { namespace: namespace?, keys }))
}

/// The API ties a bundle's name to its signer's (Kubernetes, `ClusterTrustBundle`).
fn read_cluster_trust_bundle(mut of: Section<'_, '_>) -> Option<(String, ObjectKind)> {
    let signer = of.parsed("signer", "a signer's name, such as \"lanyard.example.org/ci\"", |text| {
        let (domain, path) = text.split_once('/').ok_or("without a slash")?;
        object_name(domain).and(object_name(path)).map(|_parts| text.to_owned())
    });
    let prefix = signer.as_ref().map(|signer| format!("{}:", signer.replace('/', ":")));
    let would_do = prefix.as_ref().map_or_else(
        || "a name without a colon, or signer beside it".to_owned(),
        |prefix| format!("a name that begins as the signer's does, such as \"{prefix}roots\""),
    );
    let name = word(&mut of, "name", &would_do, |text| {
        let own = prefix.as_ref().map_or(Some(text), |prefix| text.strip_prefix(prefix.as_str()));
        own.map_or(Err("not below its signer"), object_name).map(|_own| text.to_owned())
    });
    of.finish();
    Some((name?, ObjectKind::ClusterTrustBundle { signer }))
}

fn read_bucket(section: &mut Section<'_, '_>, form: Option<Form>, environment: &dyn Environment) -> Option<Bucket> {
    let mut s3 = section.section("s3");
    let bucket = word(&mut s3, "bucket", "the bucket's name", object_name);
    let key = word(&mut s3, "key", "the object's name, such as \"ci.example.org/bundle.json\"", object_key);
    let region = word(&mut s3, "region", "the region, such as \"eu-west-1\"", label);
    let endpoint = s3.parsed("endpoint", "the storage's address, such as \"https://minio.example:9000\"", |text| {
        let url = check_https(text.trim_end_matches('/'))?;
        if url.trim_start_matches("https://").contains(['/', '?', '#', '@']) { Err("with a path") } else { Ok(url) }
    });
    let addressing = s3.parsed("addressing", "\"path\" or \"virtual-hosted\"", |text| match text {
        "path" => Ok(Addressing::Path),
        "virtual-hosted" => Ok(Addressing::VirtualHosted),
        _ => Err("neither"),
    });
    let ca_pem = read_ca_file(&mut s3, "ca_file").map(|(pem, _trust)| pem);
    let keys = read_keys(&mut s3, environment);
    s3.finish();
    let region = region?;
    // A name with dots in it matches no wildcard certificate, and other storages seldom have names for buckets.
    let usual = if endpoint.is_none() { Addressing::VirtualHosted } else { Addressing::Path };
    Some(Bucket {
        endpoint: endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com")),
        addressing: addressing.unwrap_or(usual),
        ca_pem,
        region,
        bucket: bucket?,
        key: key?,
        form: form?,
        keys: keys?,
    })
}

/// From files, or as the tools of AWS find them in the environment.
fn read_keys(s3: &mut Section<'_, '_>, environment: &dyn Environment) -> Option<BucketKeys> {
    let in_files = s3.holds("access_key_id") || s3.holds("secret_access_key_file");
    let id = s3.parsed("access_key_id", "the key's public name", data_key);
    let secret = secret_file(s3, "secret_access_key_file");
    let session_token_file = secret_file(s3, "session_token_file");
    if in_files {
        let id = id.or_else(|| s3.missing("access_key_id", "write the key's public name"));
        let secret = secret.or_else(|| s3.missing("secret_access_key_file", "write the file with the key"));
        return Some(BucketKeys::Files { access_key_id: id?, secret_access_key_file: secret?, session_token_file });
    }
    let found = |name: &str| environment.value(name);
    let shared = |name: &str| found(name).map(|text| SharedSecret::new(text.into_bytes()));
    match (found("AWS_ACCESS_KEY_ID"), shared("AWS_SECRET_ACCESS_KEY")) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let session_token = shared("AWS_SESSION_TOKEN");
            Some(BucketKeys::Environment(Credentials { access_key_id, secret_access_key, session_token }))
        }
        _ => s3.missing(
            "access_key_id",
            "write it and secret_access_key_file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
    }
}

fn word(
    section: &mut Section<'_, '_>,
    key: &'static str,
    would_do: &str,
    parse: impl FnOnce(&str) -> Result<String, &'static str>,
) -> Option<String> {
    let is_given = section.holds(key);
    let read = section.parsed(key, would_do, parse);
    if is_given { read } else { section.missing(key, &format!("write {would_do}")) }
}

/// A DNS label (RFC 1123).
fn label(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits =
        (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-');
    if fits { Ok(text.to_owned()) } else { Err("not lower-case letters, digits and dashes") }
}

/// A DNS subdomain, as objects and buckets are called.
fn object_name(text: &str) -> Result<String, &'static str> {
    if text.len() <= 253 && text.split('.').all(|part| label(part).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("no such name")
    }
}

fn data_key(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=253).contains(&text.len()) && text.bytes().all(plain) { Ok(text.to_owned()) } else { Err("no such key") }
}

fn object_key(text: &str) -> Result<String, &'static str> {
    let fits = (1..=1024).contains(&text.len()) && !text.split('/').any(|part| matches!(part, "" | "." | ".."));
    if fits && !text.chars().any(char::is_control) { Ok(text.to_owned()) } else { Err("no such object") }
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, Problem, load_server};
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn load(lines: &str, environment: &MapEnvironment) -> Result<Vec<Target>, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("secret", "wJalrXUtnFEMI");
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        put("policy.toml", "[[rule]]\nname = \"r\"\nid = \"/{project_path}/-/x\"\nwhen = { issuer = \"corp\" }\n");
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[[issuer]]\nname = \
             \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"https://lanyard.example\"\n{lines}"
        );
        put("server.toml", &text);
        load_server(&folder.path().join("server.toml"), environment).map(|settings| settings.publish)
    }

    const S3: &str =
        "[[publish]]\nform = \"pem\"\n[publish.s3]\nbucket = \"trust\"\nkey = \"a/b.pem\"\nregion = \"eu-west-1\"\n";

    #[test]
    fn each_place_is_read_and_is_known_by_its_own_name() {
        let lines = format!(
            "[[publish]]\nconfig_map = {{ namespace = \"istio-system\", name = \"roots\", pem_key = \"ca.crt\" }}\n\
             [[publish]]\ncluster_trust_bundle = {{ name = \"example.org:ci:roots\", signer = \"example.org/ci\" }}\n\
             [[publish]]\ncluster_trust_bundle = {{ name = \"lanyard\" }}\ntake_over = true\n\
             [[publish]]\nfile = \"/srv/bundle.json\"\nform = \"spiffe\"\nmode = \"0640\"\n\
             {S3}access_key_id = \"AKIA\"\nsecret_access_key_file = \"secret\"\n"
        );
        let targets = load(&lines, &MapEnvironment::default()).unwrap();
        let names: Vec<_> = targets.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "config map istio-system/roots",
                "cluster trust bundle example.org:ci:roots",
                "cluster trust bundle lanyard",
                "file /srv/bundle.json",
                "s3 trust/a/b.pem"
            ]
        );
        let Target::Bucket(bucket) = &targets[4] else { panic!() };
        assert_eq!(
            (&*bucket.endpoint, bucket.addressing),
            ("https://s3.eu-west-1.amazonaws.com", Addressing::VirtualHosted)
        );
        assert!(!format!("{bucket:?}").contains("wJalr"));
    }

    #[test]
    fn keys_of_a_bucket_may_come_from_the_environment() {
        let variables = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "wJalr")];
        let environment = MapEnvironment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let targets = load(&format!("{S3}endpoint = \"https://minio.example:9000/\"\n"), &environment).unwrap();
        let Target::Bucket(bucket) = &targets[0] else { panic!() };
        assert_eq!((&*bucket.endpoint, bucket.addressing), ("https://minio.example:9000", Addressing::Path));
        assert!(matches!(bucket.keys, BucketKeys::Environment(_)) && !format!("{bucket:?}").contains("wJalr"));
        assert!(load(S3, &MapEnvironment::default()).is_err());
    }

    #[test]
    fn what_could_not_be_written_or_is_somebody_elses_does_not_load() {
        let map = |inside: &str| format!("config_map = {{ namespace = \"ci\", {inside} }}");
        for (lines, key) in [
            (String::new(), "publish[0].file"),
            ("file = \"a\"".to_owned(), "publish[0].form"),
            ("file = \"a\"\nform = \"der\"".to_owned(), "publish[0].form"),
            ("file = \"a\"\nform = \"pem\"\nmode = \"0200\"".to_owned(), "publish[0].mode"),
            (format!("file = \"a\"\nform = \"pem\"\n{}", map("name = \"a\", pem_key = \"a\"")), "publish[0].file"),
            (map("name = \"a\""), "publish[0].config_map.pem_key"),
            (map("name = \"a\", pem_key = \"k\", spiffe_key = \"k\""), "publish[0].config_map.spiffe_key"),
            (map("name = \"A\", pem_key = \"k\""), "publish[0].config_map.name"),
            (map("name = \"linkerd-identity-trust-roots\", pem_key = \"k\""), "publish[0].config_map.name"),
            (map("name = \"a\", pem_key = \"k\", owner = \"x\""), "publish[0].config_map.owner"),
            ("cluster_trust_bundle = { name = \"a:b\" }".to_owned(), "publish[0].cluster_trust_bundle.name"),
            (
                "cluster_trust_bundle = { name = \"roots\", signer = \"example.org/ci\" }".to_owned(),
                "publish[0].cluster_trust_bundle.name",
            ),
            (
                "cluster_trust_bundle = { name = \"roots\", signer = \"ci\" }".to_owned(),
                "publish[0].cluster_trust_bundle.signer",
            ),
        ] {
            let problems = load(&format!("[[publish]]\n{lines}\n"), &MapEnvironment::default()).unwrap_err();
            let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, [key], "{lines}");
        }
        let twice = "[[publish]]\nfile = \"/a\"\nform = \"pem\"\n".repeat(2);
        assert!(load(&twice, &MapEnvironment::default()).unwrap_err()[0].found.contains("already"));
    }
}
