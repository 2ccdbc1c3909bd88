//! How journal and store tell of persons: `[audit]` in the server's file.

use super::problem::Problem;
use super::reader::Reader;
use super::section::Section;
use crate::people::Form;
use crate::policy::Policy;

/// What `[audit]` says.
pub(super) fn read_people(root: &mut Section<'_, '_>) -> Form {
    let mut audit = root.section("audit");
    let form = audit.parsed("people", "\"plain\" or \"sealed\"", |text| match text {
        "plain" => Ok(Form::Plain),
        "sealed" => Ok(Form::Sealed),
        _ => Err("no form"),
    });
    audit.finish();
    form.unwrap_or_default()
}

/// What to know of an ID that names a person, where persons are to be kept apart.
pub(super) fn warn_of_ids(reader: &Reader<'_>, form: Form, policy: Option<&Policy>) -> Option<Problem> {
    let templates = policy?.rules().iter().flat_map(|rule| &rule.gives.svids).map(|svid| &svid.id);
    let named = templates.into_iter().find(|id| form == Form::Sealed && id.holes().any(|hole| hole == "user_id"))?;
    let remedy = "name the project, not the person: an ID stands in every entry and certificate, and cannot be erased";
    Some(reader.problem_at(None, "audit.people", format!("\"sealed\" beside the ID {named}"), remedy))
}

#[cfg(test)]
mod tests {
    use crate::config::{MapEnvironment, ServerSettings, load_server};
    use crate::people::Form;

    fn load(audit: &str, id: &str) -> Result<ServerSettings, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let rule = format!("[[rule]]\nname = \"a\"\nid = \"{id}\"\nwhen.issuer = \"corp\"\n");
        std::fs::write(folder.path().join("policy.toml"), rule).unwrap();
        let file = folder.path().join("server.toml");
        let issuer = "[[issuer]]\nname = \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"a\"\n";
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n{issuer}{audit}"
        );
        std::fs::write(&file, text).unwrap();
        let told = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect();
        load_server(&file, &MapEnvironment::default()).map_err(told)
    }

    #[test]
    fn persons_stand_in_the_clear_unless_they_are_to_be_sealed_and_an_id_that_names_one_is_warned_of() {
        let (usual, named) = ("/{project_path}/-/pipelines/{pipeline_id}", "/{project_path}/-/users/{user_id}");
        let sealed = "[audit]\npeople = \"sealed\"\n";
        for (audit, id, form, warned) in [
            ("", named, Form::Plain, false),
            ("[audit]\npeople = \"plain\"\n", named, Form::Plain, false),
            (sealed, usual, Form::Sealed, false),
            (sealed, named, Form::Sealed, true),
        ] {
            let settings = load(audit, id).unwrap();
            let told = settings.warnings.iter().any(|warning| warning.key == "audit.people");
            assert_eq!((settings.people, told), (form, warned), "{audit}{id}");
        }
        let said = load("[audit]\npeople = \"hidden\"\n", usual).unwrap_err().concat();
        assert!(said.contains("audit.people") && said.contains("\"plain\" or \"sealed\""), "{said}");
    }
}
