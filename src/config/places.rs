//! `[[keys.place]]`: where keys live outside the keyring, and which of these places takes new roots.

use super::Problem;
use super::reader::Reader;
use super::section::Section;
use super::vault::read_mount;
use crate::crypto::read_secret_file;
use crate::custody::{PlaceKind, PlaceSettings, PlacesSettings};
use crate::telemetry::chain;

/// The keyring itself, where somebody wants to say so.
const KEYRING: &str = "keyring";

/// What a place may be.
const KINDS: &str = "\"pkcs11\", \"vault-transit\", or \"memory\" where no key is to outlive the server";

/// How what a kind of place needs is read.
type ReadKind = fn(&mut Section<'_, '_>) -> Option<PlaceKind>;

pub(super) fn read_places(keys: &mut Section<'_, '_>) -> PlacesSettings {
    let mut places: Vec<PlaceSettings> = Vec::new();
    for mut section in keys.sections("place") {
        let name = section.parsed("name", "a name of its own, such as \"hsm\"", |name| match name {
            "" | KEYRING => Err("empty, or the keyring's"),
            name if places.iter().any(|other| other.name == name) => Err("the name of another place"),
            name => Ok(name.to_owned()),
        });
        let name = name.or_else(|| section.missing("name", "name the place, such as \"hsm\""));
        let kind = read_kind(&mut section);
        section.finish();
        places.extend(name.zip(kind).map(|(name, kind)| PlaceSettings { name, kind }));
    }
    let root = read_name(keys, "root_place", KEYRING, &places);
    PlacesSettings { root, places }
}

/// The name of a place; none where the key is to be where it would be anyway.
pub(super) fn read_name(
    keys: &mut Section<'_, '_>,
    key: &'static str,
    usual: &str,
    places: &[PlaceSettings],
) -> Option<String> {
    let would_do = format!("the name of a [[keys.place]], or {usual:?}");
    let named = keys.parsed(key, &would_do, |name| match name {
        name if name == usual => Ok(None),
        name if places.iter().any(|place| place.name == name) => Ok(Some(name.to_owned())),
        _ => Err("no place has that name"),
    });
    named.flatten()
}

fn read_kind(place: &mut Section<'_, '_>) -> Option<PlaceKind> {
    let read = place.parsed("in", KINDS, |text| match text {
        "memory" => Ok::<ReadKind, _>(|_nothing_more| Some(PlaceKind::Memory)),
        "pkcs11" => Ok(read_pkcs11),
        "vault-transit" => Ok(|place| Some(PlaceKind::VaultTransit { mount: read_mount(place, "mount", "transit") })),
        _ => Err("no kind of place"),
    });
    read.or_else(|| place.missing("in", &format!("write {KINDS}")))?(place)
}

/// A program that is linked statically has nobody who could load a security module's library for it.
const LOADS_LIBRARIES: bool = !cfg!(target_feature = "crt-static");

fn read_pkcs11(place: &mut Section<'_, '_>) -> Option<PlaceKind> {
    if !LOADS_LIBRARIES {
        let found = "\"pkcs11\", and this is the static build, which can load no module's library";
        let remedy = "run the Debian package, or an image with glibc; keys in \"vault-transit\" need neither";
        place.problem("in", place.line_of("in"), found, remedy);
    }
    let line = place.line_of("module");
    let module = place.path("module");
    let module = module.or_else(|| place.missing("module", "write the path of the module's library, a .so file"));
    if let Some(path) = module.as_ref().filter(|path| !path.is_file()) {
        let found = format!("{} is no file", path.display());
        place.problem("module", line, found, "install the module's package, or mend the path");
    }
    // A token's label has 32 bytes (PKCS#11 §3.2).
    let token = place.parsed("token", "the token's label, of at most 32 bytes", |label| {
        if label.is_empty() || label.len() > 32 { Err("no label") } else { Ok(label.to_owned()) }
    });
    let token = token.or_else(|| place.missing("token", "write the token's label, as it was initialised"));
    let line = place.line_of("pin_file");
    let pin_file = place.path("pin_file");
    let pin_file = pin_file.or_else(|| place.missing("pin_file", "write the file with the user's PIN, of mode 0600"));
    if let Some(Err(error)) = pin_file.as_deref().map(read_secret_file) {
        place.problem("pin_file", line, chain(&error), "put the PIN alone into a file of mode 0600");
    }
    Some(PlaceKind::Pkcs11 { module: module?, token: token?, pin_file: pin_file? })
}

/// That a root ends with its server loads, and should be known.
pub(super) fn warn_of_memory(reader: &Reader<'_>, line: Option<usize>, settings: &PlacesSettings) -> Option<Problem> {
    settings.root.as_ref().filter(|root| in_memory(&settings.places, root))?;
    let found = "a place in memory: a server that starts again has lost its root, and refuses".to_owned();
    Some(reader.problem_at(
        line,
        "keys.root_place",
        found,
        "give it an empty data_dir at each start, or name a place that lasts",
    ))
}

/// Whether what is made in the place of that name ends with the process.
pub(super) fn in_memory(places: &[PlaceSettings], name: &str) -> bool {
    places.iter().any(|place| place.kind == PlaceKind::Memory && place.name == name)
}

/// The first place that is in the configured Vault.
pub(super) fn in_vault(places: &PlacesSettings) -> Option<&PlaceSettings> {
    places.places.iter().find(|place| matches!(place.kind, PlaceKind::VaultTransit { .. }))
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, Problem, ServerSettings, load_server};
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const HSM: &str = "[[keys.place]]\nname = \"hsm\"\nin = \"pkcs11\"\nmodule = \"module.so\"\ntoken = \"lanyard\"\n\
                       pin_file = \"pin\"\n";
    const VAULT: &str = "[[keys.place]]\nname = \"vault\"\nin = \"vault-transit\"\n";
    const MEMORY: &str = "[[keys.place]]\nname = \"nowhere\"\nin = \"memory\"\n";
    const ADDRESS: &str = "[vault]\naddress = \"https://vault.example\"\ntoken_file = \"pin\"\n";

    /// A server's file with these lines; a module and a PIN are there.
    fn load(lines: &str) -> Result<ServerSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("module.so", "");
        put("pin", "1234");
        fs::set_permissions(folder.path().join("pin"), fs::Permissions::from_mode(0o600)).unwrap();
        put("policy.toml", "[[rule]]\nname = \"r\"\nid = \"/{project_path}/-/x\"\nwhen = { issuer = \"corp\" }\n");
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[[issuer]]\nname = \
             \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"https://lanyard.example\"\n{lines}"
        );
        put("server.toml", &text);
        load_server(&folder.path().join("server.toml"), &MapEnvironment::default())
    }

    #[test]
    fn roots_are_made_in_the_keyring_unless_a_place_is_named() {
        assert_eq!(load("").unwrap().keys.places, PlacesSettings::default());
        for (root, wanted) in
            [("hsm", Some("hsm")), ("vault", Some("vault")), ("nowhere", Some("nowhere")), ("keyring", None)]
        {
            let lines = format!("[keys]\nroot_place = \"{root}\"\n{HSM}{VAULT}{MEMORY}{ADDRESS}");
            let settings = load(&lines).unwrap();
            let warned: Vec<&str> = settings.warnings.iter().map(|warning| &*warning.key).collect();
            let places = settings.keys.places;
            assert_eq!((places.root.as_deref(), places.places.len()), (wanted, 3));
            assert_eq!(warned.contains(&"keys.root_place"), root == "nowhere", "{warned:?}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_place_is_found_without_asking_it() {
        let hsm = |there: &str, instead: &str| HSM.replace(there, instead);
        for (lines, wanted) in [
            ("[keys]\nroot_place = \"hsm\"\n".to_owned(), "keys.root_place"),
            (format!("{HSM}{HSM}"), "keys.place[1].name"),
            (hsm("\"hsm\"", "\"keyring\""), "keys.place[0].name"),
            (hsm("\"pkcs11\"", "\"paper\""), "keys.place[0].in"),
            (hsm("in = \"pkcs11\"\n", ""), "keys.place[0].in"),
            (hsm("module.so", "gone.so"), "keys.place[0].module"),
            (hsm("\"lanyard\"", &format!("\"{}\"", "l".repeat(33))), "keys.place[0].token"),
            (hsm("token = \"lanyard\"\n", ""), "keys.place[0].token"),
            (hsm("\"pin\"", "\"module.so\""), "keys.place[0].pin_file"),
            (hsm("\"pin\"", "\"gone\""), "keys.place[0].pin_file"),
            (format!("{HSM}pin = \"1234\"\n"), "keys.place[0].pin"),
            (format!("{MEMORY}mount = \"transit\"\n"), "keys.place[0].mount"),
            (format!("[keys]\nsealing_place = \"nowhere\"\n{MEMORY}"), "keys.sealing_place"),
            (VAULT.to_owned(), "vault"),
            (format!("{VAULT}mount = \"a/../b\"\n{ADDRESS}"), "keys.place[0].mount"),
        ] {
            let problems = load(&lines).unwrap_err();
            assert!(problems.iter().any(|problem| problem.key == wanted), "{lines}: {problems:?}");
        }
    }
}
