//! Sockets over the loopback interface.

use std::cell::Cell;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{LIMIT, run, std_listener};
use crate::rt::executor::with_core;
use crate::rt::{
    Buffer, Runtime, Stream, TcpListener, TcpStream, UnixListener, UnixStream, Watched, sleep,
    spawn, timeout, yield_now,
};

/// Sends back what comes, until the peer closes.
async fn echo(stream: Stream) -> std::io::Result<()> {
    loop {
        stream.readable().await?;
        let mut buf = Buffer::take();
        match stream.try_read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => stream.write_all(&buf[..n]).await?,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Serves `echo` on a free port, on the current runtime.
fn echo_server() -> std::net::SocketAddr {
    let (listener, addr) = std_listener();
    let listener = TcpListener::from_std(listener).unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(echo(stream.into())).detach();
        }
    })
    .detach();
    addr
}

#[test]
fn many_connections_echo_at_the_same_time() {
    run(async {
        let addr = echo_server();
        let clients: Vec<_> = (0..100u32)
            .map(|i| {
                spawn(async move {
                    let stream = TcpStream::connect(addr, None).await.unwrap();
                    for round in 0..20u32 {
                        let sent = [i.to_be_bytes(), round.to_be_bytes()].concat();
                        stream.write_all(&sent).await.unwrap();
                        let mut got = Vec::new();
                        while got.len() < sent.len() {
                            let mut buf = [0; 3];
                            let n = stream.read(&mut buf).await.unwrap();
                            got.extend_from_slice(&buf[..n]);
                        }
                        assert_eq!(got, sent);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn more_than_the_socket_buffers_hold_arrives_whole_in_both_directions() {
    run(async {
        let addr = echo_server();
        let stream = Rc::new(TcpStream::connect(addr, None).await.unwrap());
        let data: Vec<u8> = (0..8_000_000u32).map(|i| (i % 251) as u8).collect();
        let (writer, sent) = (Rc::clone(&stream), data.clone());
        let writing = spawn(async move {
            let (a, b) = sent.split_at(3_000_000);
            let mut pieces = [IoSlice::new(&[]), IoSlice::new(a), IoSlice::new(b)];
            writer.write_vectored_all(&mut pieces).await.unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        let mut buf = vec![0; 50_000];
        loop {
            match stream.read(&mut buf).await.unwrap() {
                0 => break,
                n => got.extend_from_slice(&buf[..n]),
            }
        }
        writing.await.unwrap();
        assert!(got == data);
    });
}

#[test]
fn short_read_followed_by_the_end_is_seen_without_a_further_event() {
    let (listener, addr) = std_listener();
    run(async {
        // Data and FIN are there before the first event, so one event announces both.
        let mut peer = StdStream::connect(addr).unwrap();
        let (stream, _) = listener.accept().unwrap();
        peer.write_all(b"QUIT\r\n").unwrap();
        drop(peer);
        let stream = TcpStream::from_std(stream).unwrap();
        let mut buf = [0; 100];
        assert_eq!(stream.read(&mut buf).await.unwrap(), 6);
        assert!(stream.is_peer_closed());
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
    });
}

#[test]
fn end_that_comes_after_a_short_read_is_seen() {
    let (listener, addr) = std_listener();
    run(async {
        let mut peer = StdStream::connect(addr).unwrap();
        let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        peer.write_all(b"x").unwrap();
        let mut buf = [0; 100];
        assert_eq!(stream.read(&mut buf).await.unwrap(), 1);
        // The next read is refused without asking the kernel, until an event comes.
        peer.write_all(b"y").unwrap();
        let refused = stream.try_read(&mut buf).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 1);
        drop(peer);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
    });
}

#[test]
fn read_that_fills_the_buffer_keeps_the_socket_ready() {
    let (listener, addr) = std_listener();
    run(async {
        let mut peer = StdStream::connect(addr).unwrap();
        let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        peer.write_all(b"abcdef").unwrap();
        let mut buf = [0; 2];
        for expected in [b"ab", b"cd", b"ef"] {
            assert_eq!(stream.read(&mut buf).await.unwrap(), 2);
            assert_eq!(&buf, expected);
        }
    });
}

#[test]
fn hang_up_is_noticed_without_reading_what_came_before() {
    let (listener, addr) = std_listener();
    run(async {
        let mut peer = StdStream::connect(addr).unwrap();
        let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        peer.write_all(b"NOOP\r\n").unwrap();
        stream.readable().await.unwrap();
        assert!(!stream.is_peer_closed());
        let hung_up = {
            let waiting = stream.peer_closed();
            peer.shutdown(Shutdown::Write).unwrap();
            timeout(LIMIT, waiting).await
        };
        assert!(hung_up.is_ok());
        let mut buf = [0; 100];
        assert_eq!(stream.read(&mut buf).await.unwrap(), 6);
        // The peer still listens.
        stream.write_all(b"250 OK\r\n").await.unwrap();
        drop(stream);
        let mut reply = String::new();
        peer.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "250 OK\r\n");
    });
}

#[test]
fn reset_connection_is_an_error_for_reader_and_writer() {
    let (listener, addr) = std_listener();
    run(async {
        let peer = StdStream::connect(addr).unwrap();
        let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        stream.write_all(b"unread").await.unwrap();
        // Closing with unread data sends a reset (RFC 2525 §2.17).
        let mut byte = [0];
        peer.peek(&mut byte).unwrap();
        drop(peer);
        let mut buf = [0; 10];
        let error = stream.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(stream.write_all(b"more").await.is_err());
    });
}

#[test]
fn refused_connection_is_an_error() {
    let (listener, addr) = std_listener();
    drop(listener);
    let error = run(TcpStream::connect(addr, None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn connection_comes_from_the_address_it_is_bound_to() {
    run(async {
        let (listener, addr) = std_listener();
        let listener = TcpListener::from_std(listener).unwrap();
        let source = "127.0.0.2".parse().unwrap();
        let stream = TcpStream::connect(addr, Some(source)).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), source);
        assert_eq!(stream.local_addr().unwrap(), peer);
        assert_eq!(stream.peer_addr().unwrap(), addr);

        let v6 = Some("::1".parse().unwrap());
        let error = TcpStream::connect(addr, v6).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn unix_listener_serves_clients() {
    let path = std::env::temp_dir().join(format!("rt-unix-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    run(async {
        let listener = UnixListener::from_std(listener).unwrap();
        spawn(async move {
            while let Ok(stream) = listener.accept().await {
                spawn(echo(stream.into())).detach();
            }
        })
        .detach();
        for _ in 0..5 {
            let stream: Stream = UnixStream::connect(&path).await.unwrap().into();
            stream.write_all(b"over a path").await.unwrap();
            let mut buf = [0; 11];
            assert_eq!(stream.read(&mut buf).await.unwrap(), 11);
            assert_eq!(&buf, b"over a path");
            assert_eq!(stream.peer_addr().unwrap(), None);
        }
    });
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn stream_with_endless_input_lets_other_tasks_run() {
    run(async {
        let (fast, reader) = UnixStream::pair().unwrap();
        let stop = Rc::new(Cell::new(false));
        let stopped = Rc::clone(&stop);
        // Writer and reader keep each other busy, so neither ever waits for the kernel for long.
        spawn(async move { fast.write_all(&[0; 1 << 26]).await }).detach();
        let reading = spawn(async move {
            let mut buf = [0; 512];
            while !stopped.get() && reader.read(&mut buf).await.unwrap() > 0 {}
        });
        for _ in 0..100 {
            yield_now().await;
        }
        stop.set(true);
        reading.await.unwrap();
    });
}

#[test]
fn thousand_idle_connections_are_served_when_they_speak() {
    const CLIENTS: usize = 1000;
    // Two descriptors per connection; the usual soft limit is 1024.
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(4096).min(hard), hard).unwrap();
    run(async {
        let addr = echo_server();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(TcpStream::connect(addr, None).await.unwrap());
        }
        for client in clients.iter().rev() {
            client.write_all(b"!").await.unwrap();
        }
        for client in &clients {
            let mut buf = [0; 1];
            assert_eq!(client.read(&mut buf).await.unwrap(), 1);
        }
    });
}

#[test]
fn listener_shared_by_two_runtimes_serves_every_client_once() {
    const CLIENTS: usize = 200;
    let (listener, addr) = std_listener();
    let served = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let listener = listener.try_clone().unwrap();
            let (served, stop) = (Arc::clone(&served), Arc::clone(&stop));
            thread::spawn(move || {
                run(async move {
                    let listener = TcpListener::from_std(listener).unwrap();
                    while !stop.load(Ordering::SeqCst) {
                        let accepted = timeout(Duration::from_millis(20), listener.accept()).await;
                        if let Ok(accepted) = accepted {
                            served.fetch_add(1, Ordering::SeqCst);
                            accepted.unwrap().0.write_all(b"220\r\n").await.unwrap();
                        }
                    }
                });
            })
        })
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| StdStream::connect(addr).unwrap())
        .collect();
    for mut client in clients {
        let mut text = String::new();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "220\r\n");
    }
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(served.load(Ordering::SeqCst), CLIENTS);
}

/// Whether the kernel reports anything at this moment.
fn any_event() -> bool {
    with_core(|core| {
        core.reactor.wait(Some(Duration::ZERO)).unwrap();
        core.reactor.wake_ready()
    })
    .unwrap()
}

#[test]
fn dropped_listener_leaves_no_registration_behind_on_its_duplicate() {
    // The duplicate keeps the file open, as the master does, and with it a registration that was
    // not taken out.
    let (listener, addr) = std_listener();
    let duplicate = listener.try_clone().unwrap();
    let path = std::env::temp_dir().join(format!("rt-twice-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let unix_duplicate = unix.try_clone().unwrap();
    run(async {
        let tcp = TcpListener::from_std(listener).unwrap();
        let unix = UnixListener::from_std(unix).unwrap();
        let brief = Duration::from_millis(1);
        assert!(timeout(brief, tcp.accept()).await.is_err());
        assert!(timeout(brief, unix.accept()).await.is_err());
        drop((tcp, unix));
        let _client = StdStream::connect(addr).unwrap();
        let _unix_client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(!any_event());

        let again = TcpListener::from_std(duplicate).unwrap();
        again.accept().await.unwrap();
        let again = UnixListener::from_std(unix_duplicate).unwrap();
        again.accept().await.unwrap();
    });
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn dropped_watch_and_adopted_stream_leave_no_registration_behind() {
    let (a, mut a_peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let (b, mut b_peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let _duplicates = (a.try_clone().unwrap(), b.try_clone().unwrap());
    run(async {
        let watched = Watched::new(a).unwrap();
        let stream = UnixStream::from_std(b).unwrap();
        let brief = Duration::from_millis(1);
        assert!(timeout(brief, watched.readable()).await.is_err());
        assert!(timeout(brief, stream.readable()).await.is_err());
        drop((watched, stream));
        a_peer.write_all(b"late").unwrap();
        b_peer.write_all(b"late").unwrap();
        assert!(!any_event());
    });
}

#[test]
fn handle_that_outlives_its_runtime_reports_an_error() {
    let rt = Runtime::new().unwrap();
    let (stream, _peer) = rt.block_on(async { UnixStream::pair().unwrap() });
    drop(rt);
    run(async {
        assert!(stream.readable().await.is_err());
    });
}

#[test]
fn watched_descriptor_tells_of_every_message() {
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    run(async {
        let watched = Watched::new(ours).unwrap();
        for i in 0..3u8 {
            theirs.write_all(&[i]).unwrap();
            let mut byte = [0];
            let n = watched
                .read_with(|mut io| io.read(&mut byte))
                .await
                .unwrap();
            assert_eq!((n, byte[0]), (1, i));
        }
        let blocked = watched.get_ref().read(&mut [0]).unwrap_err();
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        watched.clear_readable();
        let idle = timeout(Duration::from_millis(5), watched.readable()).await;
        assert!(idle.is_err());
        drop(theirs);
        let end = watched.read_with(|mut io| io.read(&mut [0])).await.unwrap();
        assert_eq!(end, 0);
    });
}

#[test]
fn session_waits_with_deadline_and_without_buffer() {
    run(async {
        let (a, b) = UnixStream::pair().unwrap();
        let mut idle = crate::rt::Deadline::after(Duration::from_millis(20));
        assert!(idle.limit(a.readable()).await.is_err());
        idle.reset_after(LIMIT);
        let peer = spawn(async move {
            sleep(Duration::from_millis(1)).await;
            b.write_all(b"late").await.unwrap();
            b
        });
        assert!(idle.limit(a.readable()).await.is_ok());
        let mut buf = Buffer::take();
        assert_eq!(a.try_read(&mut buf).unwrap(), 4);
        drop(peer.await);
    });
}
