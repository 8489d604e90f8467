//! TLS over sockets of the loopback interface, with rustls' own blocking client on the other side.

use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::task::Poll;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{getsockopt, sockopt};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{run, std_listener};
use crate::rt::{HandshakeError, Stream, TcpStream, spawn};
use crate::tls::ends;

type Peer = StreamOwned<ClientConnection, StdStream>;

/// Runs `peer` on a connected socket in a thread of its own and gives the server's end.
fn connected<T: Send + 'static>(
    peer: impl FnOnce(StdStream) -> T + Send + 'static,
) -> (Stream, JoinHandle<T>) {
    let (listener, addr) = std_listener();
    let peer = thread::spawn(move || peer(StdStream::connect(addr).unwrap()));
    let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
    (stream.into(), peer)
}

/// The same with a peer under TLS.
async fn secured<T: Send + 'static>(
    peer: impl FnOnce(Peer) -> T + Send + 'static,
) -> (Stream, JoinHandle<T>) {
    let (mut stream, peer) =
        connected(move |socket| peer(StreamOwned::new(ends::client(), socket)));
    stream.start_tls(ends::server()).await.unwrap();
    (stream, peer)
}

async fn read_all(stream: &Stream) -> Vec<u8> {
    let mut got = Vec::new();
    let mut buf = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return got,
            n => got.extend_from_slice(&buf[..n]),
        }
    }
}

/// Octets in which no piece is like another.
fn data(length: u32) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

// covers TLS-25
#[test]
fn words_go_both_ways_and_the_session_can_be_looked_at() {
    run(async {
        let (stream, peer) = secured(|mut peer| {
            peer.write_all(b"EHLO client\r\n").unwrap();
            let mut reply = [0; 8];
            peer.read_exact(&mut reply).unwrap();
            reply
        })
        .await;
        assert!(
            stream
                .with_tls(|tls| tls.protocol_version().is_some())
                .unwrap()
        );
        let mut buf = [0; 100];
        let got = stream.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..got], b"EHLO client\r\n");
        stream.write_all(b"250 OK\r\n").await.unwrap();
        assert_eq!(&peer.join().unwrap(), b"250 OK\r\n");
    });
}

// covers TLS-22
#[test]
fn words_behind_those_of_the_handshake_do_not_wait_to_be_acknowledged() {
    run(async {
        let (stream, peer) = secured(|mut peer| peer.read_to_end(&mut Vec::new())).await;
        assert!(getsockopt(&stream, sockopt::TcpNoDelay).unwrap());
        drop(stream);
        peer.join().unwrap().unwrap();
    });
}

// covers TLS-25
#[test]
fn more_than_any_buffer_holds_arrives_whole_in_both_directions() {
    run(async {
        // The peer does not read before it has sent everything: our writer has to wait for it.
        let (stream, peer) = secured(|mut peer| {
            peer.write_all(&data(10_000_000)).unwrap();
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        })
        .await;
        let stream = std::rc::Rc::new(stream);
        let writer = std::rc::Rc::clone(&stream);
        let writing = spawn(async move {
            writer.write_all(&data(10_000_000)).await.unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_all(&stream).await == data(10_000_000));
        writing.await.unwrap();
        assert!(peer.join().unwrap() == data(10_000_000));
    });
}

#[test]
fn peer_that_closes_in_the_middle_of_the_handshake_is_an_error() {
    run(async {
        let (mut stream, peer) = connected(|mut socket| {
            let mut client = ends::client();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            socket.write_all(&hello[..hello.len() / 2]).unwrap();
        });
        peer.join().unwrap();
        let error = stream.start_tls(ends::server()).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Closed), "{error}");
    });
}

#[test]
fn garbage_in_place_of_a_handshake_is_an_error_and_is_answered_with_an_alert() {
    run(async {
        let (mut stream, peer) = connected(|mut socket| {
            socket.write_all(b"EHLO client.example.com\r\n").unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
            answer
        });
        let error = stream.start_tls(ends::server()).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Tls(_)), "{error}");
        drop(stream);
        // RFC 8446 §6: content type 21, level fatal.
        let alert = peer.join().unwrap();
        assert_eq!((alert[0], alert[5]), (21, 2), "{alert:?}");
    });
}

#[test]
fn alert_of_a_peer_that_does_not_trust_us_is_the_reason_of_the_error() {
    run(async {
        let (mut stream, peer) = connected(|socket| {
            let config = ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            let name = ServerName::try_from(ends::NAME).unwrap();
            let client = ClientConnection::new(config.into(), name).unwrap();
            let mut peer = StreamOwned::new(client, socket);
            peer.write_all(b"x").unwrap_err();
        });
        let error = stream.start_tls(ends::server()).await.unwrap_err();
        peer.join().unwrap();
        let HandshakeError::Tls(rustls::Error::AlertReceived(alert)) = error else {
            panic!("{error}");
        };
        assert_eq!(alert, AlertDescription::UnknownCA);
    });
}

#[test]
fn peer_that_ends_its_sending_side_can_still_be_answered() {
    run(async {
        let (stream, peer) = secured(|mut peer| {
            peer.write_all(b"QUIT\r\n").unwrap();
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            peer.sock.shutdown(Shutdown::Write).unwrap();
            let mut reply = String::new();
            peer.read_to_string(&mut reply).unwrap();
            reply
        })
        .await;
        assert_eq!(read_all(&stream).await, b"QUIT\r\n");
        stream.write_all(b"221 bye\r\n").await.unwrap();
        drop(stream);
        assert_eq!(peer.join().unwrap(), "221 bye\r\n");
    });
}

#[test]
fn peer_that_closes_without_saying_so_is_at_its_end_as_well() {
    run(async {
        let (stream, peer) = secured(|mut peer| {
            peer.write_all(b"NOOP\r\n").unwrap();
            peer.sock.shutdown(Shutdown::Write).unwrap();
            peer.sock
        })
        .await;
        assert_eq!(read_all(&stream).await, b"NOOP\r\n");
        drop(peer.join().unwrap());
    });
}

#[test]
fn dropped_stream_says_goodbye() {
    run(async {
        let (stream, peer) = secured(|mut peer| {
            // Without a closing alert this were an error (RFC 8446 §6.1).
            let mut nothing = Vec::new();
            peer.read_to_end(&mut nothing).map(|_| nothing)
        })
        .await;
        drop(stream);
        assert_eq!(peer.join().unwrap().unwrap(), b"");
    });
}

#[test]
fn decrypted_octets_that_were_not_read_yet_make_the_stream_readable() {
    run(async {
        let (stream, peer) = secured(|mut peer| {
            peer.write_all(b"MAIL\r\nRCPT\r\n").unwrap();
            let mut end = Vec::new();
            peer.read_to_end(&mut end).unwrap();
        })
        .await;
        let mut buf = [0; 6];
        for expected in [b"MAIL\r\n", b"RCPT\r\n"] {
            assert_eq!(stream.read(&mut buf).await.unwrap(), 6);
            assert_eq!(&buf, expected);
        }
        // Nothing is left, neither here nor in the socket.
        assert_eq!(
            stream.try_read(&mut buf).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        poll_fn(|cx| {
            assert!(stream.poll_readable(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(stream);
        peer.join().unwrap();
    });
}

// covers TLS-23
#[test]
fn octets_of_the_handshake_that_were_read_before_count() {
    run(async {
        let (mut stream, peer) = connected(|socket| {
            let mut peer = StreamOwned::new(ends::client(), socket);
            peer.write_all(b"EHLO client\r\n").unwrap();
            let mut end = Vec::new();
            peer.read_to_end(&mut end).unwrap();
        });
        // Half of the first message, as a reader of something else would find it in its buffer.
        let mut first = vec![0; 60];
        let got = stream.read(&mut first).await.unwrap();
        first.truncate(got);
        stream.start_tls_from(first, ends::server()).await.unwrap();
        let mut buf = [0; 100];
        let got = stream.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..got], b"EHLO client\r\n");
        drop(stream);
        peer.join().unwrap();
    });
}
