//! `lanyard policy render vault`.

use super::command::Rendered;
use super::rules::{Rules, RulesArgs, roots};
use crate::config::parse_duration;
use crate::mesh::{Admitted, Mesh, Peer, SecretPath, VaultLogin, VaultName, VaultRole, VaultWrite};
use std::path::PathBuf;
use std::time::Duration;

/// What can be typed. One role for all of the rules' jobs: by certificate with --roots, by token with --audience, or both
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("login").required(true).multiple(true))]
#[command(group = clap::ArgGroup::new("rights").required(true).multiple(true))]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    /// The role that jobs log in for
    #[arg(long, value_name = "NAME")]
    role: VaultName,
    /// What they may read, as secret/data/deploy (version 2 of `kv` has its secrets below data); again for each
    #[arg(long = "read", value_name = "PATH", group = "rights")]
    reads: Vec<SecretPath>,
    /// A policy that is there already and that they get too; again for each
    #[arg(long = "policy", value_name = "NAME", group = "rights")]
    policies: Vec<VaultName>,
    /// Our roots, as PEM or SPIFFE bundle: the old and the new one while they change; from `lanyard bundle show`
    #[arg(long, value_name = "FILE", group = "login")]
    roots: Option<PathBuf>,
    /// Whom tokens for Vault are for, as the rules' audiences say it
    #[arg(long, value_name = "AUDIENCE", group = "login")]
    audience: Option<String>,
    /// The claim by which Vault tells one bearer from another: the SPIFFE ID, or one that the rules add
    #[arg(long, value_name = "CLAIM", default_value = "sub", requires = "audience")]
    user_claim: String,
    /// Where certificates log in
    #[arg(long, value_name = "MOUNT", default_value = "cert")]
    cert_mount: VaultName,
    /// Where tokens log in
    #[arg(long, value_name = "MOUNT", default_value = "jwt")]
    jwt_mount: VaultName,
    /// How long what Vault gives lives unless it is renewed
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = parse_duration)]
    token_ttl: Duration,
    /// How long it lives at most: without it Vault's own, a month
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_duration)]
    token_max_ttl: Duration,
}

const ALWAYS_NAMED: &str = "log in with the role's name: without it Vault takes any role that the certificate fits";
const ONE_ENTITY_EACH: &str = "each of these IDs becomes an entity of its own at Vault, one a pipeline; a claim that stays, \
                               such as project_id in the rules' claims, tells bearers apart as well: --user-claim project_id";

/// A policy and roles.
pub(super) fn render(args: &Args) -> anyhow::Result<Rendered> {
    let Some(rules) = args.rules.load()? else { return Ok(Rendered::Refused) };
    let role = args.role();
    let (mut writes, mut advice): (Vec<VaultWrite>, _) = (role.policy()?.into_iter().collect(), Vec::new());
    let mut all = Vec::new();
    if let Some(file) = &args.roots {
        let roots = roots(file)?;
        let Some(admitted) = args.admitted(&rules, VaultLogin::Certificate) else { return Ok(Rendered::Refused) };
        writes.push(role.by_certificate(&args.cert_mount, (&admitted, &rules.trust_domain), &roots)?);
        advice.push(ALWAYS_NAMED.to_owned());
        all = admitted;
    }
    if let Some(audience) = &args.audience {
        let login = VaultLogin::Token { audience: audience.clone(), user_claim: args.user_claim.clone() };
        let Some(admitted) = args.admitted(&rules, login) else { return Ok(Rendered::Refused) };
        let whose = (&*admitted, &rules.trust_domain);
        writes.push(role.by_token(&args.jwt_mount, whose, (audience, &args.user_claim))?);
        if args.user_claim == "sub" && !admitted.iter().flat_map(|one| &one.peers).all(is_one) {
            advice.push(ONE_ENTITY_EACH.to_owned());
        }
        all = admitted;
    }
    let text = VaultWrite::script(&writes, &all);
    let objects = writes.iter().map(|write| write.call().clone()).collect();
    Ok(Rendered::Commands { text, objects, advice })
}

const fn is_one(peer: &Peer) -> bool {
    matches!(peer, Peer::Exact(_))
}

impl Args {
    fn role(&self) -> VaultRole {
        let (name, reads, policies) = (self.role.clone(), self.reads.clone(), self.policies.clone());
        VaultRole { name, reads, policies, ttl: self.token_ttl, max_ttl: self.token_max_ttl }
    }

    fn admitted(&self, rules: &Rules, login: VaultLogin) -> Option<Vec<Admitted>> {
        self.rules.admitted(rules, &Mesh::Vault(login))
    }
}
