//! The publisher's side: documents are drafted, signed offline key by key, and put into a static folder that any web server serves.

mod document;
mod error;
mod folder;

pub use document::{keep_apart, Authority, Document, DocumentError, DELEGATED_ROLES, ROOT_ROLES};
pub use error::PublishError;
pub use folder::{publish, published_document, OnlineKeys, Publication, Published};
