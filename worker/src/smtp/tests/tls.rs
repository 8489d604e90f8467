//! Sessions that come under TLS: by STARTTLS, from the first octet, behind a proxy; and all that can
//! go wrong before they do.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::{ConfigDir, Watch};
use haraka_shared::hook::{Call, HookName, Verdict};
use haraka_shared::plugin::{PluginEnv, Wants};

use super::rig::{BANNER, Client, Rig, connection, pausing, taking, with_files};
use crate::hooks::tests::script::{Loaded, plugin};
use crate::rt;
use crate::tls::ends;

/// The plugin `tls` with its usual time limit.
fn offering() -> Loaded {
    let nowhere = std::env::temp_dir().join(format!("haraka-none-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(nowhere.join("config")).unwrap();
    let (config, watch) = (ConfigDir::open(&nowhere).unwrap(), Watch::new());
    let env = PluginEnv::new(&config, &nowhere, &watch);
    let registration = haraka_plugins::load("tls", &env).unwrap().unwrap();
    std::fs::remove_dir_all(&nowhere).unwrap();
    (registration, Some(Duration::from_secs(30)))
}

/// Runs a test with a certificate, the plugin `tls` and these files.
fn with_tls<F: Future<Output = ()>>(
    files: &[(&str, &str)],
    plugins: Vec<Loaded>,
    test: impl FnOnce(Rc<Rig>) -> F,
) {
    let plugins = plugins.into_iter().chain([offering()]).collect();
    with_files(files, plugins, |rig| {
        rig.offer_tls();
        test(rig)
    });
}

async fn offered(c: &mut Client) -> bool {
    let reply = c.say("EHLO client.example.com").await;
    reply.lines().any(|line| line.get(4..) == Some("STARTTLS"))
}

/// The proxy's client on the TLS port.
fn on_tls_port(rig: &Rig, proxy: bool) -> Client {
    let conn = connection("192.0.2.1", 465);
    let ticket = match proxy {
        true => rig.worker.sessions.admit_proxy(),
        false => rig.worker.sessions.admit(conn.remote_ip()),
    };
    rig.converse(conn, ticket.unwrap())
}

const SMTPS: (&str, &str) = ("smtp.ini", "[main]\nsmtps_port = 465\n");

// covers EXT-05, TLS-19, TLS-20, TLS-21, TLS-25
#[test]
fn starttls_makes_a_session_that_has_forgotten_what_came_in_the_clear() {
    let resets = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&resets);
    let counting = plugin(
        "count",
        &[Wants::hook(HookName::ResetTransaction)],
        move |_, _| {
            *counted.borrow_mut() += 1;
            Box::pin(async { Verdict::CONT })
        },
    );
    let plugins = taking().into_iter().chain([counting]).collect();
    with_tls(&[], plugins, |rig| async move {
        let mut c = rig.greeted().await;
        assert!(offered(&mut c).await);
        let ok = c.say("MAIL FROM:<a@example.com>").await;
        assert!(ok.starts_with("250"), "{ok}");
        c.start_tls().await;
        let refused = c.say("MAIL FROM:<a@example.com>").await;
        assert_eq!(refused, "503 Use EHLO/HELO before MAIL");
        assert_eq!(*resets.borrow(), 1);
        assert!(c.conn.transaction().is_none());
        // It is not offered again, and not begun again.
        assert!(!offered(&mut c).await);
        assert_eq!(c.say("STARTTLS").await, "503 TLS is already active");

        let tls = c.conn.tls.borrow().clone().unwrap();
        assert_eq!(tls.version, "TLSv1.3");
        assert_eq!(tls.server_name.as_deref(), Some(ends::NAME));
        let note = c.conn.notes.get("tls").unwrap();
        assert_eq!(note["cipher"]["version"], "TLSv1.3");
        let results = c.conn.results.get("tls").unwrap();
        assert_eq!(results["enabled"], true);
        assert_eq!(results["cipher"]["name"], tls.cipher);
        assert!(!c.conn.early_talker.get());
        c.last("QUIT").await;
    });
}

// covers TLS-21, TXN-02
#[test]
fn received_field_names_the_protocol_and_the_cipher() {
    let seen = Rc::new(RefCell::new(String::new()));
    let field = Rc::clone(&seen);
    let reading = plugin(
        "read",
        &[Wants::hook(HookName::DataPost)],
        move |call, cx| {
            assert!(matches!(call, Call::DataPost(())));
            let txn = cx.transaction().unwrap();
            let received: Vec<u8> = txn
                .header
                .borrow()
                .get_all("Received")
                .flatten()
                .copied()
                .collect();
            field
                .borrow_mut()
                .push_str(&String::from_utf8_lossy(&received));
            Box::pin(async { Verdict::CONT })
        },
    );
    let plugins = taking().into_iter().chain([reading]).collect();
    with_tls(&[], plugins, |rig| async move {
        let mut c = rig.introduced().await;
        c.start_tls().await;
        c.say("EHLO client.example.com").await;
        c.say("MAIL FROM:<a@example.com>").await;
        c.say("RCPT TO:<b@example.org>").await;
        c.say("DATA").await;
        let queued = c.say("Subject: x\r\n\r\nx\r\n.").await;
        assert!(queued.starts_with("250"), "{queued}");
        let tls = c.conn.tls.borrow().clone().unwrap();
        let field = seen.borrow().clone();
        assert!(field.contains("with ESMTPS id "), "{field}");
        let cipher = format!("\n\ttls {};", tls.standard_cipher);
        assert!(field.replace('\r', "").contains(&cipher), "{field}");
        c.last("QUIT").await;
    });
}

// covers TLS-20
#[test]
fn commands_behind_starttls_in_the_same_packet_are_never_run() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let names = Rc::clone(&asked);
    let wants = [Wants::hook(HookName::Rset), Wants::hook(HookName::Noop)];
    let noting = plugin("note", &wants, move |call, _| {
        names.borrow_mut().push(call.hook().name());
        Box::pin(async { Verdict::CONT })
    });
    with_tls(&[], vec![noting], |rig| async move {
        let mut c = rig.introduced().await;
        c.send("STARTTLS\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\n")
            .await;
        assert_eq!(c.reply().await, "220 Go ahead.");
        c.shake_hands().await;
        assert_eq!(c.say("NOOP").await, "250 OK");
        assert_eq!(*asked.borrow(), ["noop"]);
        c.last("QUIT").await;
    });
}

// covers TLS-20
#[test]
fn client_that_speaks_as_soon_as_the_handshake_is_done_is_in_its_turn() {
    let plugins = vec![pausing(HookName::UnrecognizedCommand, 1)];
    with_tls(&[], plugins, |rig| async move {
        let mut c = rig.introduced().await;
        c.send("STARTTLS\r\n").await;
        assert_eq!(c.reply().await, "220 Go ahead.");
        c.shake_hands().await;
        c.send("EHLO client.example.com\r\n").await;
        c.reply().await;
        assert!(!c.conn.early_talker.get());
        c.last("QUIT").await;
    });
}

// covers TLS-20
#[test]
fn starttls_that_cannot_be_granted_is_refused_and_the_session_goes_on() {
    with_tls(&[], vec![], |rig| async move {
        let mut c = rig.greeted().await;
        let unknown = "500 Unrecognized command";
        assert_eq!(c.say("STARTTLS").await, unknown, "not offered yet");
        assert!(offered(&mut c).await);
        let refused = c.say("STARTTLS now").await;
        assert_eq!(refused, "501 STARTTLS takes no parameters");
        rig.withdraw_tls();
        assert_eq!(c.say("STARTTLS").await, "454 TLS not available");
        assert_eq!(c.say("NOOP").await, "250 OK");
        assert!(!offered(&mut c).await, "there is no certificate");
        c.last("QUIT").await;
    });
}

// covers TLS-11, TLS-12
#[test]
fn hosts_and_ports_that_are_left_out_are_not_offered_it() {
    let ini = "no_starttls_ports[] = 2525\n[no_tls_hosts]\n198.51.100.0/24\n";
    with_tls(&[("tls.ini", ini)], vec![], |rig| async move {
        for (ip, port, wanted) in [
            ("192.0.2.1", 25, true),
            ("192.0.2.1", 2525, false),
            ("198.51.100.9", 25, false),
            ("203.0.113.1", 587, true),
        ] {
            let mut c = rig.connect_from(ip, port);
            c.reply().await;
            assert_eq!(offered(&mut c).await, wanted, "{ip} {port}");
            c.last("QUIT").await;
        }
    });
}

// covers TLS-20
#[test]
fn handshake_that_takes_too_long_ends_the_session_without_another_word() {
    with_tls(&[], vec![], |rig| async move {
        let mut c = rig.introduced().await;
        let begun = rt::now();
        assert_eq!(c.say("STARTTLS").await, "220 Go ahead.");
        assert_eq!(c.rest().await, "");
        // One second less than the plugin has, and the time to linger.
        let took = (rt::now() - begun).as_secs();
        assert!((29..=32).contains(&took), "{took}");
        assert!(c.conn.tls.borrow().is_none());
    });
}

// covers TLS-16
#[test]
fn client_whose_handshake_failed_is_not_offered_it_for_a_while() {
    let ini = "[redis]\ndisable_for_failed_hosts = true\n";
    with_tls(&[("tls.ini", ini)], vec![], |rig| async move {
        let mut c = rig.introduced().await;
        assert_eq!(c.say("STARTTLS").await, "220 Go ahead.");
        c.send("EHLO client.example.com\r\n").await;
        c.over().await;
        let mut again = rig.greeted().await;
        assert!(!offered(&mut again).await);
        let results = again.conn.results.get("tls").unwrap();
        assert_eq!(results["msg"][0], "no_tls");
        again.last("QUIT").await;
        // Others are, and so are those who submit mail.
        for (ip, port) in [("192.0.2.2", 25), ("192.0.2.1", 587)] {
            let mut c = rig.connect_from(ip, port);
            c.reply().await;
            assert!(offered(&mut c).await, "{ip} {port}");
            c.last("QUIT").await;
        }
    });
}

// covers PB-59
#[test]
fn without_the_switch_no_failure_is_remembered() {
    with_tls(&[], vec![], |rig| async move {
        let mut c = rig.introduced().await;
        assert_eq!(c.say("STARTTLS").await, "220 Go ahead.");
        c.send("EHLO client.example.com\r\n").await;
        c.over().await;
        let mut again = rig.greeted().await;
        assert!(offered(&mut again).await);
        again.last("QUIT").await;
    });
}

// covers TLS-22
#[test]
fn tls_port_begins_with_the_handshake_and_offers_none() {
    with_tls(&[SMTPS], vec![], |rig| async move {
        let mut c = on_tls_port(&rig, false);
        c.shake_hands().await;
        let banner = c.reply().await;
        assert!(banner.starts_with(BANNER), "{banner}");
        assert!(!offered(&mut c).await);
        assert!(c.conn.notes.get("tls").is_some());
        assert!(!c.conn.early_talker.get());
        // PA-29
        let refused = c.say("MAIL FROM:<a@example.com>").await;
        assert_eq!(refused, "550 Authentication required");
        c.last("QUIT").await;
    });
}

// covers TLS-22
#[test]
fn client_in_the_clear_on_the_tls_port_is_sent_away_without_a_hook() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let names = Rc::clone(&asked);
    let wants = [HookName::ConnectInit, HookName::Connect, HookName::Ehlo];
    let noting = plugin("note", &wants.map(Wants::hook), move |call, _| {
        names.borrow_mut().push(call.hook().name());
        Box::pin(async { Verdict::CONT })
    });
    with_tls(&[SMTPS], vec![noting], |rig| async move {
        let mut c = on_tls_port(&rig, false);
        c.send("EHLO client.example.com\r\n").await;
        let mut alert = Vec::new();
        let mut buffer = [0; 100];
        while let Ok(got @ 1..) = c.stream.read(&mut buffer).await {
            alert.extend_from_slice(&buffer[..got]);
        }
        c.over().await;
        assert_eq!(alert.first(), Some(&21), "{alert:?}");
        assert!(asked.borrow().is_empty());
        // A silent one has half a minute.
        let begun = rt::now();
        let mut c = on_tls_port(&rig, false);
        assert_eq!(c.rest().await, "");
        assert!((rt::now() - begun).as_secs() < 35);
    });
}

const TRUSTING: (&str, &str) = ("connection.ini", "[haproxy]\nhosts[] = 192.0.2.0/24\n");

// covers TLS-23, HAP-07
#[test]
fn header_of_a_proxy_comes_before_the_handshake_on_the_tls_port() {
    with_tls(&[SMTPS, TRUSTING], vec![], |rig| async move {
        let mut c = on_tls_port(&rig, true);
        c.send("PROXY TCP4 203.0.113.9 198.51.100.7 50000 587\r\n")
            .await;
        c.shake_hands().await;
        let banner = c.reply().await;
        assert!(banner.starts_with(BANNER), "{banner}");
        assert_eq!(c.conn.remote_ip().to_string(), "203.0.113.9");
        // What the proxy says counts for the rules of the port.
        assert_eq!(c.conn.local.get().port, 587);
        c.say("EHLO client.example.com").await;
        let refused = c.say("MAIL FROM:<a@example.com>").await;
        assert_eq!(refused, "550 Authentication required");
        c.last("QUIT").await;
    });
}

// covers TLS-23
#[test]
fn handshake_in_the_same_packet_as_the_proxy_s_header_is_not_lost() {
    with_tls(&[SMTPS, TRUSTING], vec![], |rig| async move {
        let mut c = on_tls_port(&rig, true);
        let mut client = ends::client();
        let mut packet = b"PROXY TCP4 203.0.113.9 198.51.100.7 50000 465\r\n".to_vec();
        client.write_tls(&mut packet).unwrap();
        c.send(&packet).await;
        c.stream.start_tls(client.into()).await.unwrap();
        let banner = c.reply().await;
        assert!(banner.starts_with(BANNER), "{banner}");
        c.last("QUIT").await;
    });
}

// covers TLS-23
#[test]
fn proxy_that_begins_with_tls_itself_is_served() {
    with_tls(&[SMTPS, TRUSTING], vec![], |rig| async move {
        let mut c = on_tls_port(&rig, true);
        c.shake_hands().await;
        let banner = c.reply().await;
        assert!(banner.starts_with(BANNER), "{banner}");
        assert!(!c.conn.proxy.get().allowed);
        c.last("QUIT").await;
    });
}

// covers TLS-23
#[test]
fn bad_header_on_the_tls_port_is_refused_in_the_clear() {
    with_tls(&[SMTPS, TRUSTING], vec![], |rig| async move {
        let mut c = on_tls_port(&rig, true);
        let told = c.last("PROXY TCP9 nonsense").await;
        assert_eq!(told, "421 Invalid PROXY format\n");
    });
}

// covers TLS-22
#[test]
fn shutdown_does_not_wait_for_a_handshake() {
    with_tls(&[SMTPS], vec![], |rig| async move {
        let mut c = on_tls_port(&rig, false);
        rt::sleep(Duration::from_secs(1)).await;
        let begun = rt::now();
        rig.worker
            .sessions
            .enter(crate::smtp::sessions::Phase::Draining);
        assert_eq!(c.rest().await, "");
        assert!((rt::now() - begun).as_secs() < 5);
    });
}
