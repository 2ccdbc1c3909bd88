//! What meshes are told of our rules: how each mesh reads it, which of its facts hold for every object, and what a person
//! finds in the golden files and on the pages.

pub(crate) mod matching;
mod command;
mod facts;
mod rendered;
mod operators;
mod pages;
pub(crate) mod hostile;
