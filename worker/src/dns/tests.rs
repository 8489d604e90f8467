//! The resolver against a server that speaks DNS on a real socket.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use haraka_shared::config::DnsIni;
use haraka_shared::plugin::LocalFuture;
use haraka_shared::services::{Dns, DnsError, MxRecord};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, PTR, TLSA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};

use super::{Names, Resolver, TlsaRecord, ValidatedDns, Validating};
use crate::rt::{self, Runtime};

/// Answers by name; silent for names that begin with `dead`. Counts the questions.
fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let question = Message::from_vec(&buffer[..n]).unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = answer(&question) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    (address, count)
}

fn answer(question: &Message) -> Option<Vec<u8>> {
    let query = question.queries[0].clone();
    let kind = query.query_type().to_string();
    let name = query.name().to_ascii();
    let data: Vec<RData> = match (kind.as_str(), name.as_str()) {
        ("MX", "example.com.") => [(10, "mx1.example.com."), (20, "MX2.example.com.")]
            .map(|(p, n)| RData::MX(MX::new(p, Name::from_ascii(n).unwrap())))
            .to_vec(),
        ("MX", "null.example.") => vec![RData::MX(MX::new(0, Name::root()))],
        ("MX", "xn--exmple-cua.com.") => {
            vec![RData::MX(MX::new(1, Name::from_ascii("idn.").unwrap()))]
        }
        ("A", "mx1.example.com.") => vec![
            RData::A(A::new(192, 0, 2, 1)),
            RData::A(A::new(192, 0, 2, 2)),
        ],
        ("AAAA", "mx1.example.com.") => vec![RData::AAAA(AAAA("2001:db8::1".parse().unwrap()))],
        ("PTR", "7.2.0.192.in-addr.arpa.") => ["first.example.", "second.example."]
            .map(|n| RData::PTR(PTR(Name::from_ascii(n).unwrap())))
            .to_vec(),
        ("TXT", "example.com.") => {
            vec![RData::TXT(TXT::new(vec!["v=spf1 ".into(), "-all".into()]))]
        }
        ("TLSA", "_25._tcp.mx.signed.example.") => {
            let data = vec![7; 32];
            vec![RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), data))]
        }
        ("MX", "signed.example.") => {
            vec![RData::MX(MX::new(
                1,
                Name::from_ascii("mx.signed.example.").unwrap(),
            ))]
        }
        ("A", "mx.signed.example.") => vec![RData::A(A::new(192, 0, 2, 1))],
        _ => vec![],
    };
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = match name.split('.').next() {
        Some("dead") => return None,
        Some("broken") => ResponseCode::ServFail,
        Some("refused") => ResponseCode::Refused,
        Some("gone" | "8") => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    let wants_proof = question.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok);
    answer.metadata.authentic_data = wants_proof && name.contains("signed");
    for data in data {
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
    }
    Some(answer.to_vec().unwrap())
}

fn settings(server: SocketAddr) -> DnsIni {
    DnsIni {
        timeout: Duration::from_millis(400),
        tries: 1,
        servers: vec![server],
    }
}

fn resolver(server: SocketAddr) -> Resolver {
    Resolver::with_hosts(
        &settings(server),
        b"192.0.2.50 lan.example lan\n127.0.0.1 localhost other\n",
    )
}

fn run<T>(test: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(test)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

// covers OUT-21
#[test]
fn every_kind_of_record_is_read() {
    let dns = resolver(server().0);
    run(async {
        let mx = |preference, exchange: &str| MxRecord {
            preference,
            exchange: exchange.into(),
        };
        let mut found = dns.mx("example.com").await.unwrap();
        found.sort_by_key(|r| r.preference);
        assert_eq!(
            found,
            [mx(10, "mx1.example.com"), mx(20, "MX2.example.com")]
        );
        assert_eq!(dns.mx("null.example.").await, Ok(vec![mx(0, "")]));
        assert_eq!(dns.mx("exämple.com").await, Ok(vec![mx(1, "idn")]));
        let mut found = dns.a("mx1.example.com").await.unwrap();
        found.sort();
        assert_eq!(found, [ip("192.0.2.1"), ip("192.0.2.2")]);
        assert_eq!(
            dns.aaaa("mx1.example.com").await,
            Ok(vec![ip("2001:db8::1")])
        );
        assert_eq!(
            dns.txt("example.com").await,
            Ok(vec!["v=spf1 -all".to_owned()])
        );
        let mut found = dns.ptr(ip("192.0.2.7")).await.unwrap();
        found.sort();
        assert_eq!(found, ["first.example", "second.example"]);
    });
}

// covers OUT-22
#[test]
fn absence_and_trouble_are_told_apart() {
    let dns = resolver(server().0);
    run(async {
        assert_eq!(dns.mx("gone.example").await, Err(DnsError::NoSuchName));
        assert_eq!(dns.mx("empty.example").await, Err(DnsError::NoData));
        assert_eq!(dns.a("not a name..").await, Err(DnsError::NoSuchName));
        for name in ["broken.example", "refused.example"] {
            let error = dns.mx(name).await.unwrap_err();
            assert!(matches!(error, DnsError::Temporary(_)), "{name}: {error:?}");
        }
    });
}

// covers KEY-58
#[test]
fn dead_server_costs_the_configured_time_and_no_more() {
    let dns = resolver(server().0);
    run(async {
        let start = Instant::now();
        let error = dns.a("dead.example").await.unwrap_err();
        let took = start.elapsed();
        assert_eq!(error, DnsError::Temporary("timeout".into()));
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_secs(3),
            "{took:?}"
        );
    });
}

#[test]
fn hosts_file_and_literals_are_answered_without_asking() {
    let (address, count) = server();
    let dns = resolver(address);
    run(async {
        assert_eq!(dns.a("LAN").await, Ok(vec![ip("192.0.2.50")]));
        assert_eq!(dns.aaaa("lan.example").await, Err(DnsError::NoData));
        assert_eq!(dns.ptr(ip("192.0.2.50")).await.unwrap()[0], "lan.example");
        assert_eq!(
            dns.ptr(ip("::ffff:127.0.0.1")).await.unwrap()[0],
            "localhost"
        );
        assert_eq!(dns.ptr(ip("127.0.0.9")).await.unwrap(), ["localhost"]);
        assert_eq!(dns.a("192.0.2.3").await, Ok(vec![ip("192.0.2.3")]));
        assert_eq!(dns.a("2001:db8::3").await, Err(DnsError::NoData));
        assert_eq!(count.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn answers_are_kept() {
    let (address, count) = server();
    let dns = resolver(address);
    run(async {
        for _ in 0..3 {
            dns.mx("example.com").await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn answers_say_whether_the_resolver_vouches_for_them() {
    let (address, count) = server();
    let dns = Validating::new(&settings(address));
    run(async {
        // The server says nothing about the root.
        assert!(!dns.vouches().await && !dns.vouches().await);
        assert_eq!(count.swap(0, Ordering::SeqCst), 1);
        for _ in 0..2 {
            let mx = dns.mx("Signed.example").await.unwrap();
            assert!(mx.secure);
            assert_eq!(mx.records[0].exchange, "mx.signed.example");
            let tlsa = dns.tlsa("_25._tcp.mx.signed.example").await.unwrap();
            let record = TlsaRecord {
                usage: 3,
                selector: 1,
                matching: 1,
                data: [7; 32].into(),
            };
            assert_eq!((tlsa.secure, &tlsa.records[..]), (true, &[record][..]));
            let a = dns.addresses("mx.signed.example", false).await.unwrap();
            assert_eq!((a.secure, a.owner.as_str()), (true, "mx.signed.example"));
            assert!(!dns.mx("example.com").await.unwrap().secure);
        }
        assert_eq!(count.load(Ordering::SeqCst), 4);
        let none = dns.addresses("mx.signed.example", true).await;
        assert_eq!(none, Err(DnsError::NoData));
        assert_eq!(dns.mx("gone.example").await, Err(DnsError::NoSuchName));
        for name in ["broken.example", "dead.example"] {
            let error = dns.mx(name).await.unwrap_err();
            assert!(matches!(error, DnsError::Temporary(_)), "{name}: {error:?}");
        }
    });
}

#[test]
fn only_servers_on_this_machine_are_local() {
    for (servers, local) in [
        (&["127.0.0.1:53", "[::1]:53", "127.0.0.53:5353"][..], true),
        (&["127.0.0.1:53", "192.0.2.1:53"], false),
        (&["10.0.0.1:53"], false),
    ] {
        let ini = DnsIni {
            servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
            ..settings("127.0.0.1:53".parse().unwrap())
        };
        assert_eq!(Validating::new(&ini).is_local(), local, "{servers:?}");
    }
}

// covers CON-07
#[test]
fn clients_without_a_name_get_the_word_for_it() {
    let names = Names::new(&resolver(server().0));
    run(async {
        assert_eq!(&*names.of(ip("127.0.0.1")).await, "localhost");
        assert!(["first.example", "second.example"].contains(&&*names.of(ip("192.0.2.7")).await));
        assert_eq!(&*names.of(ip("192.0.2.8")).await, "NXDOMAIN");
        assert_eq!(&*names.of(ip("192.0.2.9")).await, "DNSERROR");
    });
}

/// Counts questions, and answers when it is let.
#[derive(Default)]
struct SlowDns {
    asked: Cell<usize>,
    go: rt::sync::Event,
}

impl Dns for SlowDns {
    fn mx(&self, _: &str) -> LocalFuture<'_, Result<Vec<MxRecord>, DnsError>> {
        Box::pin(std::future::ready(Err(DnsError::NoData)))
    }
    fn a(&self, _: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(std::future::ready(Err(DnsError::NoData)))
    }
    fn aaaa(&self, _: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(std::future::ready(Err(DnsError::NoData)))
    }
    fn ptr(&self, ip: IpAddr) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        self.asked.set(self.asked.get() + 1);
        Box::pin(async move {
            self.go.wait().await;
            match ip.to_string().as_str() {
                "192.0.2.1" => Ok(vec!["a".into(), "b".into()]),
                "192.0.2.2" => Ok(vec![]),
                "192.0.2.3" => panic!("a test of panics"),
                _ => Err(DnsError::Temporary("SERVFAIL".into())),
            }
        })
    }
    fn txt(&self, _: &str) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(std::future::ready(Err(DnsError::NoData)))
    }
}

// covers CON-07
#[test]
fn sessions_share_a_question_even_if_the_first_one_leaves() {
    let dns = Rc::new(SlowDns::default());
    let names = Names::over(dns.clone(), 8);
    run(async {
        let ask = |n: u8| {
            let names = names.clone();
            rt::spawn(async move { names.of(IpAddr::from([192, 0, 2, n])).await })
        };
        let first = ask(1);
        rt::yield_now().await;
        let (second, third) = (ask(1), ask(1));
        rt::yield_now().await;
        drop(first);
        let (empty, error, panicking) = (ask(2), ask(4), ask(3));
        rt::yield_now().await;
        assert_eq!(dns.asked.get(), 4);
        dns.go.set();
        assert_eq!(second.await.as_deref().ok(), Some("a"));
        assert_eq!(third.await.as_deref().ok(), Some("a"));
        assert_eq!(empty.await.as_deref().ok(), Some("Unknown"));
        assert_eq!(error.await.as_deref().ok(), Some("DNSERROR"));
        assert_eq!(panicking.await.as_deref().ok(), Some("DNSERROR"));
        assert_eq!(ask(1).await.as_deref().ok(), Some("a"));
        assert_eq!(dns.asked.get(), 4, "it was remembered");
        assert_eq!(
            names.remembered(ip("::ffff:192.0.2.1")).as_deref(),
            Some("a")
        );
    });
}
