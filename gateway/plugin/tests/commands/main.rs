//! The commands as authors run them, on the guests of `plugins/dist`.

mod bench;
mod golden;
mod inspect;
mod project;
mod refusals;
mod replay;
mod sign;
mod support;
