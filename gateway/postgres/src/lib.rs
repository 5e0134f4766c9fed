//! One way to get PostgreSQL, shared by `tidegate demo` and the test harness: find the server's
//! binaries or download them, make a cluster, run it as an ordinary user, and stop it whatever
//! happens to the process that started it.
//!
//! # Layout
//! - [`binaries`]: which `postgres` and `initdb` are used
//! - `download`: fetching them when the machine has none
//! - `account`: an ordinary user where the process is root
//! - `initdb`: making a data folder, and [`Template`], one made once and copied
//! - `data_dir`: who may use a data folder; what a killed gateway left behind
//! - `process`: the running postmaster, its signals and its watchdog
//! - [`cluster`]: a data folder with a server on it
//!
//! # What ends a server
//! | what happens | what follows |
//! |---|---|
//! | [`Cluster::stop`], or the value is dropped | fast shutdown; then immediate, then SIGKILL, each bounded |
//! | Ctrl-C at the terminal | nothing by itself: servers are in process groups of their own, so the owner decides |
//! | the owner is killed (`kill -9`, out of memory) | the watchdog reads end-of-file and orders a fast shutdown |
//! | the owner and the watchdog are killed | the next start on the folder finds the orphan and stops it first |

mod account;
pub mod binaries;
pub mod cluster;
mod data_dir;
mod download;
mod error;
mod initdb;
mod process;

pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterBuilder, Durability};
pub use error::PgError;
pub use initdb::Template;
