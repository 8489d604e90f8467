//! STUB
use std::rc::Rc;
use haraka_shared::spool::{QueueName, Recipient};
use super::attempt::Cause; use super::item::Loaded; use crate::worker::Worker;
pub(super) async fn send(_w: &Rc<Worker>, _n: &QueueName, _i: &Loaded, _f: &[(Recipient, Cause)], _why: &str) -> bool { true }
