//! Rules that name a trust domain of which we hold no bundle: whoever wrote them believes that their jobs can talk to it.

use super::Federation;
use crate::policy::Policy;

impl Federation {
    /// What is told when a policy comes into use.
    pub fn unheld(&self, policy: &Policy) -> Vec<String> {
        let now = self.now();
        let named =
            policy.rules().iter().flat_map(|rule| rule.gives.federates_with.iter().map(move |name| (rule, name)));
        let unheld = named.filter(|(_, name)| now.of(name).is_none());
        unheld
            .map(|(rule, name)| {
                let remedy = match self.relation(name) {
                    Some(relation) => format!("mend its source, {}", relation.source),
                    None => format!("give it by a [[federation]] of the configuration, or `lanyard bundle set {name}`"),
                };
                format!(
                    "rule {:?}.federates_with: no bundle of {name} is held, so that its jobs get none; {remedy}",
                    rule.name
                )
            })
            .collect()
    }
}
