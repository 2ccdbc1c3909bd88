//! `lanyard backup create|verify|restore`: the data folder as one file, and back.

mod command;
mod create;
mod restore;
mod verify;

pub(super) use command::{Args, run};
