//! Which rules are rendered, by which policy, and with which roots.

use crate::bundle::Bundle;
use crate::cli::failure::{WrongUsage, unreadable};
use crate::cli::remote::named_config;
use crate::cli::render;
use crate::config::{Lifetimes, SystemEnvironment, load_policy, load_server};
use crate::identity::TrustDomain;
use crate::mesh::{Admitted, Callers, Group, Known, Mesh, Project, Unfit};
use crate::policy::Policy;
use crate::svid::LeafProfile;
use anyhow::Context as _;
use rustls_pki_types::CertificateDer;
use std::path::{Path, PathBuf};

/// Which rules.
#[derive(clap::Args, Debug)]
pub(super) struct RulesArgs {
    /// The policy; without it, the one that the configuration names
    pub(super) file: Option<PathBuf>,
    // The variable is read by hand: a typed file counts for more.
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration, with policy, trust domain and the look of certificates [env: LANYARD_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// Whose IDs these are, where no configuration says so
    #[arg(long, value_name = "TD", value_parser = TrustDomain::parse)]
    trust_domain: Option<TrustDomain>,
    /// A rule whose jobs may call; again for each [default: every rule]
    #[arg(long = "rule", value_name = "NAME")]
    names: Vec<String>,
    /// Only the rules' SVIDs of this profile [default: every one that the mesh can tell from others]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Only this project of the rules', as acme/payments/api, 4711, or 4711=acme/payments/api where a rule says the id and
    /// its IDs the path; again for each
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<Project>,
    /// The path of a group that a rule names by id, as 812=acme/payments; again for each
    #[arg(long = "group", value_name = "ID=PATH")]
    groups: Vec<Group>,
    /// One JSON object: the objects, and what is said about them
    #[arg(long)]
    pub(super) json: bool,
}

/// Rules at hand.
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) trust_domain: TrustDomain,
    pub(super) leaf: LeafProfile,
}

impl RulesArgs {
    /// The policy and whose it is; none where a file has problems, which are said.
    pub(super) fn load(&self) -> anyhow::Result<Option<Rules>> {
        let settings = match named_config(self.config.clone()) {
            // A file by itself needs no configuration, whatever the variable says.
            Some(config) if self.config.is_some() || self.file.is_none() => {
                match render::loaded(load_server(&config, &SystemEnvironment)) {
                    Some(settings) => Some(settings),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let (trust_domain, leaf, configured) = settings.map_or_else(Default::default, |settings| {
            (Some(settings.trust_domain), settings.leaf, Some(settings.policy))
        });
        let policy = match &self.file {
            Some(file) => render::loaded(load_policy(file, &[], Lifetimes::SVID)),
            None => {
                Some(configured.ok_or_else(|| WrongUsage::new("name the policy, or the configuration with --config"))?)
            }
        };
        let trust_domain = self.agreed(trust_domain)?;
        Ok(policy.map(|policy| Rules { policy, trust_domain, leaf }))
    }

    fn agreed(&self, configured: Option<TrustDomain>) -> anyhow::Result<TrustDomain> {
        match (&self.trust_domain, configured) {
            (Some(typed), Some(configured)) if *typed != configured => {
                let both = format!("--trust-domain says {typed} and the configuration {configured}; leave one out");
                Err(WrongUsage::new(both).into())
            }
            (Some(typed), _) => Ok(typed.clone()),
            (None, Some(configured)) => Ok(configured),
            (None, None) => Err(WrongUsage::new("say whose IDs these are: --trust-domain TD, or --config FILE").into()),
        }
    }

    /// Whom the mesh may admit for these rules; none where it cannot be told of one, which is said.
    pub(super) fn admitted(&self, rules: &Rules, mesh: &Mesh) -> Option<Vec<Admitted>> {
        let groups = self.groups.iter().map(|group| (group.id, group.path.clone())).collect();
        let known = Known { projects: self.projects.clone(), groups };
        let Rules { policy, trust_domain, .. } = rules;
        let callers = Callers { policy, trust_domain, known: &known, mesh, profile: self.profile.as_deref() };
        let told = |unfit: Vec<(String, Unfit)>| {
            for (rule, why) in &unfit {
                render::aside(&format!("rule {rule:?} is not rendered: {why}"));
            }
            if self.names.is_empty() {
                render::aside("every rule was asked for; name those whose jobs may call with --rule NAME");
            }
        };
        callers.of(&self.names).map_err(told).ok()
    }
}

/// Root certificates in a file, at least one.
pub(super) fn roots(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(file).map_err(unreadable(file))?;
    // Neither form names the trust domain, and certificates need none.
    let bundle = Bundle::read(TrustDomain::parse("any")?, &text);
    let roots = bundle.with_context(|| format!("{} is no bundle of roots", file.display()))?.x509_authorities;
    anyhow::ensure!(!roots.is_empty(), "{} holds no root certificate", file.display());
    Ok(roots)
}
