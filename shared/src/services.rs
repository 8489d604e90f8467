//! What a worker offers to plugins: DNS, time, blocking work, other servers, the queue.
//!
//! Plugins reach the worker through these traits only, so that none of them knows its runtime.

use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::config::{Config, ConfigDir};
use crate::dial::{DialError, Dialogue, Endpoint};
use crate::plugin::LocalFuture;
use crate::reply::Reply;
use crate::route::Route;
use crate::spool::QueueName;
use crate::transaction::Transaction;

/// Why a DNS question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist.
    #[error("no such name")]
    NoSuchName,
    /// The name exists without records of this type.
    #[error("no records of this type")]
    NoData,
    /// The servers did not answer, or answered with a failure: try again later.
    #[error("{0}")]
    Temporary(String),
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxRecord {
    /// Lower is tried first.
    pub preference: u16,
    /// Host name without a trailing dot; empty for a null MX (RFC 7505).
    pub exchange: String,
}

/// DNS questions.
pub trait Dns {
    /// Mail exchangers of a domain.
    fn mx(&self, domain: &str) -> LocalFuture<'_, Result<Vec<MxRecord>, DnsError>>;
    /// IPv4 addresses of a host.
    fn a(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>>;
    /// IPv6 addresses of a host.
    fn aaaa(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>>;
    /// Host names of an address.
    fn ptr(&self, ip: IpAddr) -> LocalFuture<'_, Result<Vec<String>, DnsError>>;
    /// Text records, each joined from its parts.
    fn txt(&self, name: &str) -> LocalFuture<'_, Result<Vec<String>, DnsError>>;
}

/// Why a message could not be handed to another server.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection, or it broke before the final reply.
    #[error("{0}")]
    Connection(String),
    /// The other server refused the whole message.
    #[error("{}", .0.text())]
    Refused(Reply),
}

/// What became of a forwarded message.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The reply to the final dot.
    pub reply: Reply,
}

/// Why a message could not be queued.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// The disk is full.
    #[error("queue disk is full: {0}")]
    Full(String),
    /// Any other local trouble.
    #[error("{0}")]
    Local(String),
}

/// How many items of a worker's part of the queue are in which state (OUT-14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Being delivered.
    pub in_progress: u64,
    /// Due, waiting for their turn.
    pub pending: u64,
    /// Waiting for their time.
    pub deferred: u64,
}

/// A worker's part of the queue: the items that it accepted or took over.
pub trait WorkerQueue {
    /// How many there are.
    fn counts(&self) -> QueueCounts;
    /// Items that are due and wait for their turn, and items that wait for their time, of each at most
    /// so many; those that are known by name, in no order.
    fn waiting(&self, most: usize) -> (Vec<QueueName>, Vec<QueueName>);
    /// Makes what waits for its time due: all of this worker (OUT-15), or what goes to one domain, of all
    /// workers.
    fn flush(&self, domain: Option<&str>);
    /// Makes one item due, if it is this worker's and not under way.
    fn retry(&self, file: &str);
}

/// What plugins may ask of the worker that runs them.
pub trait Services {
    /// The settings of now; some of them follow their files.
    fn config(&self) -> Rc<Config>;
    /// The worker's number among those of the server, from 0.
    fn slot(&self) -> u32 {
        0
    }
    /// The configuration directory, for files of the plugin's own.
    fn config_dir(&self) -> &ConfigDir;
    /// The install directory.
    fn install_dir(&self) -> &Path;
    /// DNS questions.
    fn dns(&self) -> &dyn Dns;
    /// Whether there is a certificate to show to the clients of this port of ours.
    fn offers_tls(&self, _port: u16) -> bool {
        false
    }
    /// Asks the master for another worker in this one's place, which ends when that serves. Sessions and
    /// deliveries are finished first.
    fn ask_for_successor(&self) {}
    /// The worker's part of the queue; none where there is no worker.
    fn queue(&self) -> Option<&dyn WorkerQueue> {
        None
    }
    /// Resolves after this time.
    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()>;
    /// Runs blocking work on another thread and resolves when it is done.
    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()>;
    /// Connects to a server within this time, looking up its name included. The same time then
    /// holds for each step of the conversation; see [`Dialogue::limit`].
    fn dial<'a>(
        &'a self,
        to: &'a Endpoint,
        within: Duration,
    ) -> LocalFuture<'a, Result<Box<dyn Dialogue>, DialError>>;
    /// Hands the transaction's message to another server at once, all recipients in one
    /// conversation, or one for each when `one_per_recipient`.
    fn forward<'a>(
        &'a self,
        route: Route,
        transaction: &'a Transaction,
        one_per_recipient: bool,
    ) -> LocalFuture<'a, Result<Forwarded, ForwardError>>;
    /// Puts the transaction's message into the outbound queue; when it resolves the message is
    /// on disk.
    fn enqueue<'a>(
        &'a self,
        transaction: &'a Transaction,
    ) -> LocalFuture<'a, Result<(), QueueError>>;
}
