//! How journal and store tell of persons: `[audit]` in the server's file.

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

/// The first template that puts a person into an ID, where persons are to be kept apart: an ID stands in each entry and in
/// each certificate, and nobody can take it back.
pub(super) fn names_somebody(form: Form, policy: &Policy) -> Option<String> {
    let templates = policy.rules().iter().flat_map(|rule| &rule.svids).map(|svid| svid.id.to_string());
    templates.into_iter().find(|template| form == Form::Sealed && template.contains("{user_"))
}
