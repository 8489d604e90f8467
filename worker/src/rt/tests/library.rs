//! Tokio's libraries beside our executor.

use std::io::Write;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::{run, std_listener};
use crate::rt::{library, spawn, timeout};

#[test]
fn tokio_timer_runs_beside_our_own_tasks() {
    let start = Instant::now();
    run(async {
        let ours = spawn(crate::rt::sleep(Duration::from_millis(5)));
        library::run(async { tokio::time::sleep(Duration::from_millis(20)).await })
            .unwrap()
            .await;
        ours.await.unwrap();
    });
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn our_timeout_ends_a_library_future() {
    run(async {
        let hour = Duration::from_secs(3600);
        let endless = library::run(async move { tokio::time::sleep(hour).await }).unwrap();
        assert!(timeout(Duration::from_millis(5), endless).await.is_err());
    });
}

#[test]
fn task_spawned_by_a_library_runs_on_the_driver_thread() {
    let name = run(async {
        library::run(async {
            tokio::spawn(async { thread::current().name().map(str::to_owned) })
                .await
                .unwrap()
        })
        .unwrap()
        .await
    });
    assert_eq!(name.as_deref(), Some("library"));
}

#[test]
fn tokio_socket_reads_from_a_peer() {
    let (listener, addr) = std_listener();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let text = run(async {
        library::run(async move {
            let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            let mut text = Vec::new();
            loop {
                stream.readable().await.unwrap();
                let mut buf = [0; 16];
                match stream.try_read(&mut buf) {
                    Ok(0) => return text,
                    Ok(n) => text.extend_from_slice(&buf[..n]),
                    Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
        })
        .unwrap()
        .await
    });
    peer.join().unwrap();
    assert_eq!(text, b"hello");
}

#[test]
fn hickory_resolver_gets_its_answer_from_a_udp_server() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    thread::spawn(move || {
        let mut buf = [0; 512];
        while let Ok((n, from)) = server.recv_from(&mut buf) {
            let _ = server.send_to(&answer(&buf[..n]), from);
        }
    });

    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = addr.port();
    let name_server = NameServerConfig::new(addr.ip(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, vec![], vec![name_server]);
    let ips = run(async {
        library::run(async move {
            let provider = TokioRuntimeProvider::default();
            let resolver = TokioResolver::builder_with_config(config, provider)
                .build()
                .unwrap();
            let found = resolver.ipv4_lookup("mx.example.test.").await.unwrap();
            found
                .answers()
                .iter()
                .map(|record| record.data.to_string())
                .collect::<Vec<_>>()
        })
        .unwrap()
        .await
    });
    assert_eq!(ips, ["192.0.2.25"]);
}

/// Answers any question with one A record.
fn answer(query: &[u8]) -> Vec<u8> {
    // RFC 1035 §4.1: header, then the question: labels, a zero byte, type and class.
    let end = 12 + query[12..].iter().position(|b| *b == 0).unwrap() + 5;
    let mut reply = Vec::new();
    reply.extend_from_slice(&query[..2]);
    reply.extend_from_slice(&[0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(&query[12..end]);
    reply.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 25]);
    reply
}
