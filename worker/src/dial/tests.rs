//! Real servers on threads, and what becomes of a conversation with each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use haraka_shared::services::MxRecord;

use super::*;
use crate::rt::Runtime;

/// Names that are known here.
struct Names(Vec<(&'static str, Result<Vec<IpAddr>, DnsError>)>);

impl Names {
    fn find(&self, name: &str, v6: bool) -> Result<Vec<IpAddr>, DnsError> {
        let found = self.0.iter().find(|(n, _)| *n == name);
        let found = found.map_or(Err(DnsError::NoSuchName), |(_, a)| a.clone())?;
        Ok(found.into_iter().filter(|a| a.is_ipv6() == v6).collect())
    }
}

impl Dns for Names {
    fn mx(&self, _: &str) -> LocalFuture<'_, Result<Vec<MxRecord>, DnsError>> {
        unreachable!()
    }
    fn a(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(std::future::ready(self.find(host, false)))
    }
    fn aaaa(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(std::future::ready(self.find(host, true)))
    }
    fn ptr(&self, _: IpAddr) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        unreachable!()
    }
    fn txt(&self, _: &str) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        unreachable!()
    }
}

fn server(act: impl FnOnce(TcpStream) + Send + 'static) -> (Endpoint, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || act(listener.accept().unwrap().0));
    (at(address), thread)
}

fn at(address: SocketAddr) -> Endpoint {
    Endpoint {
        host: Host::Ip(address.ip()),
        port: address.port(),
    }
}

fn run<T>(talk: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(talk)
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

async fn call(to: &Endpoint) -> Box<dyn Dialogue> {
    dial(&Names(Vec::new()), to, LONG).await.unwrap()
}

#[test]
fn lines_come_whole_however_they_were_cut_and_the_end_is_told() {
    let (to, thread) = server(|mut s| {
        for part in ["+O", "K\r", "\nsecond\n\r\nre"] {
            s.write_all(part.as_bytes()).unwrap();
            s.flush().unwrap();
        }
        let mut heard = [0; 4];
        s.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"quit");
        s.write_all(b"st\nunfinished").unwrap();
    });
    run(async {
        let mut link = call(&to).await;
        for line in ["+OK", "second", ""] {
            assert_eq!(link.read_line(100).await.unwrap().unwrap(), line.as_bytes());
        }
        link.write_all(b"quit").await.unwrap();
        assert_eq!(link.read_line(100).await.unwrap().unwrap(), b"rest");
        assert_eq!(link.read_line(100).await.unwrap(), None);
    });
    thread.join().unwrap();
}

#[test]
fn octets_that_a_line_left_are_read_next_and_the_bound_holds() {
    let (to, thread) = server(|mut s| s.write_all(b"line\nabcdef").unwrap());
    run(async {
        let mut link = call(&to).await;
        link.read_line(100).await.unwrap();
        let mut rest = Vec::new();
        loop {
            let some = link.read_some(4).await.unwrap();
            assert!(some.len() <= 4);
            if some.is_empty() {
                break;
            }
            rest.extend(some);
        }
        assert_eq!(rest, b"abcdef");
    });
    thread.join().unwrap();
}

#[test]
fn line_without_end_is_an_error_and_not_memory() {
    let (to, thread) = server(|mut s| {
        // Ends with an error when the other side has had enough.
        while s.write_all(&[b'x'; 4096]).is_ok() {}
    });
    run(async {
        let mut link = call(&to).await;
        let error = link.read_line(1000).await.unwrap_err();
        assert!(matches!(error, DialError::TooLong(1000)), "{error}");
    });
    thread.join().unwrap();
}

#[test]
fn silent_server_costs_no_more_than_a_step_and_dropped_read_loses_nothing() {
    let (tx, rx) = std::sync::mpsc::channel();
    let (to, thread) = server(move |mut s| {
        s.write_all(b"half").unwrap();
        rx.recv().unwrap();
        s.write_all(b" line\n").unwrap();
    });
    run(async {
        let mut link = call(&to).await;
        link.limit(SHORT);
        let error = link.read_line(100).await.unwrap_err();
        assert!(matches!(error, DialError::Timeout("reading")), "{error}");
        tx.send(()).unwrap();
        link.limit(LONG);
        assert_eq!(link.read_line(100).await.unwrap().unwrap(), b"half line");
    });
    thread.join().unwrap();
}

#[test]
fn address_that_refuses_is_followed_by_the_next_one() {
    let (to, thread) = server(|mut s| s.write_all(b"here\n").unwrap());
    let names = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Names(vec![("backend.test", Ok(addresses))])
    };
    let by_name = Endpoint {
        host: Host::Name("backend.test".into()),
        port: to.port,
    };
    run(async {
        // Nothing listens on the first one: the server's port is bound at 127.0.0.1 only.
        let names = names(&["127.0.0.2", "127.0.0.1"]);
        let mut link = dial(&names, &by_name, LONG).await.unwrap();
        assert_eq!(link.read_line(100).await.unwrap().unwrap(), b"here");
    });
    thread.join().unwrap();
}

#[test]
fn what_cannot_be_reached_is_said_by_name() {
    // No port that the system would choose for another test.
    let nobody = Endpoint::parse("127.0.0.1:1", 1).unwrap();
    let late = Names(vec![(
        "late.test",
        Err(DnsError::Temporary("timeout".into())),
    )]);
    run(async {
        for (to, start) in [
            (nobody.clone(), format!("cannot connect to {nobody}: ")),
            (
                Endpoint::parse("gone.test:1", 1).unwrap(),
                "cannot look up gone.test: no such name".to_owned(),
            ),
            (
                Endpoint::parse("late.test:1", 1).unwrap(),
                "cannot look up late.test: timeout".to_owned(),
            ),
            (
                Endpoint::parse("/nowhere/at.all", 1).unwrap(),
                "cannot connect to /nowhere/at.all: ".to_owned(),
            ),
        ] {
            let error = dial(&late, &to, LONG).await.err().unwrap().to_string();
            assert!(error.starts_with(&start), "{error}");
        }
    });
}

#[test]
fn unix_socket_serves_as_well_and_half_closing_leaves_reading() {
    let path = std::env::temp_dir().join(format!("haraka-dial-{}", uuid::Uuid::new_v4()));
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().unwrap();
        let mut all = String::new();
        s.read_to_string(&mut all).unwrap();
        assert_eq!(all, "question");
        s.write_all(b"answer\n").unwrap();
    });
    let to = Endpoint::parse(path.to_str().unwrap(), 0).unwrap();
    run(async {
        let mut link = call(&to).await;
        link.write_all(b"question").await.unwrap();
        link.finish().unwrap();
        assert_eq!(link.read_line(100).await.unwrap().unwrap(), b"answer");
    });
    thread.join().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn tls_is_refused_over_octets_that_came_in_the_clear() {
    let (to, thread) = server(|mut s| s.write_all(b"220 go\r\n250 injected\r\n").unwrap());
    run(async {
        let mut link = call(&to).await;
        link.read_line(100).await.unwrap();
        let error = link.start_tls("mx.test", Trust::Anyone).await.unwrap_err();
        assert!(matches!(error, DialError::Tls(_)), "{error}");
    });
    thread.join().unwrap();
}

#[test]
fn garbage_in_place_of_a_handshake_is_an_error() {
    let (to, thread) = server(|mut s| {
        let mut hello = [0; 1];
        s.read_exact(&mut hello).unwrap();
        s.write_all(b"500 what do you mean?\r\n").unwrap();
    });
    run(async {
        let mut link = call(&to).await;
        let error = link.start_tls("mx.test", Trust::System).await.unwrap_err();
        assert!(matches!(error, DialError::Tls(_)), "{error}");
    });
    thread.join().unwrap();
}
