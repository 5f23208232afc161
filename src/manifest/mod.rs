//! Floor 4: what a person may write.
//!
//! These types are the grammar, the schema's source and the user's manual at once: a doc comment
//! here is the text an editor shows. They hold what was written and decide nothing; `topology`
//! resolves them. A manifest is decoded only after the schema accepted it, so decoding cannot be
//! the first to find a fault.

pub mod decode;
pub mod link;
pub mod node;
pub mod peers;
pub mod policy;
pub mod topology;
pub mod var;
