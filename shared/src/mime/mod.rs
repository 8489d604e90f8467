//! MIME (RFC 2045 to 2047, 2183): the parts of a stored message, found and read only when a plugin
//! asks, and edits of text parts that leave every other octet alone.
//!
//! Must never recurse: the depth of a message is the sender's choice. Must never hold a body: parts
//! are ranges of the stored message, read through the same decoders in pieces.

pub mod charset;
pub mod transfer;
