//! STUB
use super::attempt::Cause;
use super::item::Loaded;
use crate::worker::Worker;
use haraka_shared::spool::{QueueName, Recipient};
use std::rc::Rc;
pub(super) async fn send(
    _w: &Rc<Worker>,
    _n: &QueueName,
    _i: &Loaded,
    _f: &[(Recipient, Cause)],
    _why: &str,
) -> bool {
    true
}
