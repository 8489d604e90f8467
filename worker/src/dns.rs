//! STUB
use haraka_shared::config::DnsIni;
use haraka_shared::plugin::LocalFuture;
use haraka_shared::services::{Dns, DnsError, MxRecord};
use std::net::IpAddr;
use std::rc::Rc;
#[allow(missing_docs)]
pub struct Resolver;
#[allow(missing_docs)]
pub struct Names;
#[allow(missing_docs)]
impl Resolver {
    pub fn new(_: &DnsIni) -> Resolver {
        Resolver
    }
}
#[allow(missing_docs)]
impl Names {
    pub fn new(_: &Resolver) -> Names {
        Names
    }
    pub async fn of(&self, _ip: IpAddr) -> Rc<str> {
        Rc::from("localhost")
    }
}
fn no<T: 'static>() -> LocalFuture<'static, Result<T, DnsError>> {
    Box::pin(async { Err(DnsError::NoSuchName) })
}
impl Dns for Resolver {
    fn mx(&self, _: &str) -> LocalFuture<'_, Result<Vec<MxRecord>, DnsError>> {
        no()
    }
    fn a(&self, _: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        no()
    }
    fn aaaa(&self, _: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        no()
    }
    fn ptr(&self, _: IpAddr) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        no()
    }
    fn txt(&self, _: &str) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        no()
    }
}
