//! Why a rule cannot be told to a mesh, and what to do about it.

use super::{NotAName, Unwritable};
use crate::identity::FillError;
use crate::policy::Laxer;

/// Why a mesh could not tell this rule's jobs from others, or knows too little to.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// A beginning would hold Lanyard's own identities.
    #[error(
        "{pattern} would admit runners too (/-/lanyard/runners/…); say whose jobs it is for: write the projects into when, \
         as project_path = [\"…\"], or name one with --project"
    )]
    AdmitsRunners {
        /// What would have been rendered.
        pattern: String,
    },
    /// A path of a group that only its id is known of.
    #[error("it is for the group {id}, and its IDs hold paths; add --group {id}=PATH, or namespace_path to its when")]
    GroupPathUnknown {
        /// The group.
        id: String,
    },
    /// Some value never gives an ID.
    #[error("it names what never gets an ID: {0}")]
    IdDoesNotFit(#[from] FillError),
    /// Somebody else's jobs would come in.
    #[error(
        "{pattern} would admit jobs of rule {:?} too, which does not demand {}; {remedy}", laxer.rule, laxer.lacks
    )]
    Laxer {
        /// What would have been rendered.
        pattern: String,
        /// By which rule.
        laxer: Laxer,
        /// What may help.
        remedy: &'static str,
    },
    /// A project was asked for, and its IDs begin as others' of the same rule.
    #[error("{pattern} would admit the rule's other projects too, and only some were asked for; {remedy}")]
    LetsInOthers {
        /// What would have been rendered.
        pattern: String,
        /// What may help.
        remedy: &'static str,
    },
    /// A rule for a list of no projects: without callers an object would let in everybody.
    #[error("it is for nobody; write the projects into its when")]
    NamesNobody,
    /// Its tokens have no such claim.
    #[error("its JWT-SVIDs have no claim {claim:?}; add it to [rule.claims], or leave --user-claim out")]
    NoClaim {
        /// As asked.
        claim: String,
    },
    /// No certificate, so that no mesh sees it.
    #[error("it grants JWT-SVIDs only, and peers are known by certificates here; add \"x509\" to its kinds")]
    NoCertificate,
    /// The policy has none of that name.
    #[error("the policy has no rule of that name")]
    NoRule,
    /// No token for whoever is told.
    #[error("it grants no JWT-SVID for {audience}; add \"jwt\" to its kinds and {audience:?} to its audiences")]
    NoToken {
        /// As asked.
        audience: String,
    },
    /// The rule has none of that name.
    #[error("it has no SVID with the profile {profile:?}")]
    NoProfile {
        /// As asked.
        profile: String,
    },
    /// Linkerd names peers by whole IDs only.
    #[error(
        "Linkerd compares URIs as a whole, and {template} gives a new ID to each {open}; give it an SVID that leaves that out, \
         such as /projects/{{project_id}}/-/environments/production, and name the projects"
    )]
    NotExact {
        /// The rule's template.
        template: String,
        /// The first hole that is not fixed.
        open: String,
    },
    /// The project asked for is none of its own.
    #[error("it is not for {project}: {why}")]
    NotForProject {
        /// As asked.
        project: String,
        /// The two terms.
        why: String,
    },
    /// Grants nothing.
    #[error("it only observes, and grants nobody anything")]
    Observes,
    /// The project's id is not known.
    #[error("its IDs hold project ids, and only the path {path:?} is known; add --project ID={path}")]
    ProjectIdUnknown {
        /// The project.
        path: String,
    },
    /// The names that Linkerd sees first hold a project's id.
    #[error(
        "with san_order = \"dns_first\" Linkerd sees pl<pipeline>.p<project>.{suffix}, so the projects must be known by id; \
         write project_id into when, or name one with --project ID=PATH"
    )]
    ProjectIdUnseen {
        /// The suffix of our DNS names.
        suffix: String,
    },
    /// The project's path is not known.
    #[error(
        "its IDs hold project paths, and only the id {id} is known; add --project {id}=PATH (`lanyard pin list` tells the path)"
    )]
    ProjectPathUnknown {
        /// The project.
        id: u64,
    },
    /// A token that others get too.
    #[error(
        "its tokens may be for several audiences, and whoever else gets one could log in with it; leave multi_audience out, or \
         give these tokens a rule of their own"
    )]
    SharedToken,
    /// More than anybody wants to read.
    #[error("it names more than {max} callers; a prefix for a group does, where no other rule gives IDs below it")]
    TooMany {
        /// How many are rendered.
        max: usize,
    },
}

/// Why objects were not made of what a mesh could be told.
#[derive(Debug, thiserror::Error)]
pub enum NotRendered {
    /// Kubernetes would not take a name.
    #[error("a name of Kubernetes' is wrong: {0}")]
    Name(#[from] NotAName),
    /// One ID was needed, and the rules give several, or a pattern.
    #[error(
        "a proxy has exactly one ID, and {found} came out; name one rule with --rule whose ID has no pipeline, and one project"
    )]
    NotOneId {
        /// How many, or which pattern.
        found: String,
    },
    /// Its ID is too long for the object.
    #[error("{id} has {} bytes and an ExternalWorkload holds {max}; give the project the numeric layout /projects/{{project_id}}/…", id.len())]
    TooLong {
        /// The ID.
        id: String,
        /// How long it may be.
        max: usize,
    },
    /// It could not be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}
