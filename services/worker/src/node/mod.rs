//! A container's logins for the programs of its node: a socket that answers who shows the container's access key.
//!
//! In the node's folder lie `waybill.sock`, and for each container `<workspace>/<container>/access`: whoever can read that
//! file may ask on the container's behalf. `<workspace>/access` speaks for all containers of a workspace.

mod answer;
mod files;
mod key;
mod running;
mod select;
mod server;
mod socket;

pub(crate) use answer::nothing_attached;
pub use answer::{Answerer, Attached, NoAttached};
pub use files::{NodeDir, NodeDirError};
pub use running::{Attachment, Owner, Running};
pub use server::{NodeError, Server};
pub use socket::SocketError;
