//! Laws of policies, held against thousands of policies of chance: an understanding of rules that is written apart from the
//! server's own says which policies may load, and what those that load may give.

mod chance;
mod checker;
mod globs;
mod laws;
mod meshes;
mod model;
mod namespaces;
mod plants;
mod real_envoy;
mod road;
mod templates;
mod through_envoy;
mod tries;
mod world;
