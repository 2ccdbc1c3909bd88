//! Systems that facts come from, as they answer over HTTP: rightly, oddly, badly, late, too much.

mod asking;
mod approvals;
mod changes;
mod gerrit;
mod gerrit_oddities;
mod links;
mod okta;
mod okta_app;
mod real_gerrit;
mod scripted;
mod silence;
