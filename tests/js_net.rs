//! What plugins reach over the network, in a running server: DNS as Node's callers know it, and what
//! becomes of a plugin's sockets.

#![allow(missing_docs)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use harness::scripts::install_with;
use harness::{DEADLINE, FakeDns, RecordType, Server, greeted};

/// Each line is a name, a colon, and what the question gave.
const QUESTIONS: &str = r#"
    const dns = require('dns')
    const { promises } = dns
    const shown = (err) => `${err.code} ${err.syscall} ${err.hostname} ${err.message}`
    exports.hook_connect = async function (next) {
        const say = async (name, asked) => this.loginfo(`${name}: ${await asked.then((v) => JSON.stringify(v), shown)}`)
        const called = (run) => new Promise((resolve, reject) => run((err, ...found) => (err ? reject(err) : resolve(found))))
        await say('a', promises.resolve4('host.test'))
        await say('ttl', promises.resolve4('host.test', { ttl: true }))
        await say('aaaa', called((done) => dns.resolve6('host.test', done)))
        await say('mx', promises.resolveMx('host.test'))
        await say('txt', promises.resolve('host.test', 'TXT'))
        await say('ns', promises.resolveNs('host.test'))
        await say('srv', promises.resolveSrv('_x._tcp.host.test'))
        await say('soa', promises.resolveSoa('host.test'))
        await say('caa', promises.resolveCaa('host.test'))
        await say('cname', promises.resolveCname('alias.test'))
        await say('through', promises.resolve4('alias.test'))
        await say('ptr', promises.reverse('192.0.2.1'))
        await say('look', called((done) => dns.lookup('host.test', done)))
        await say('all', promises.lookup('host.test', { all: true }))
        await say('six', promises.lookup('host.test', 6))
        await say('none', promises.resolve4('none.test'))
        await say('nodata', promises.resolveMx('empty.test'))
        await say('fail', promises.resolveTxt('fail.test'))
        await say('refused', promises.resolveTxt('refused.test'))
        await say('lookfail', promises.lookup('none.test'))
        const own = new promises.Resolver({ timeout: 50, tries: 1 })
        own.setServers(promises.getServers())
        this.loginfo(`servers: ${own.getServers().length}`)
        await say('late', own.resolve4('silent.test'))
        const gone = own.resolve4('silent.test')
        own.cancel()
        await say('cancelled', gone)
        await say('kind', promises.resolve('host.test', 'XYZ').catch((err) => { throw { code: err.code } }))
        try {
            own.setServers(['no address'])
        } catch (err) {
            this.loginfo(`bad: ${err.code}`)
        }
        next()
        this.loginfo('all asked')
    }
"#;

// covers PLG-07
#[test]
fn dns_answers_and_failures_have_the_form_that_node_gives_them() {
    let dns = FakeDns::start();
    dns.address("host.test", "192.0.2.1")
        .address("host.test", "2001:db8::1")
        .mx("host.test", &[(10, "mx.host.test")])
        .txt("host.test", &"x".repeat(300))
        .cname("alias.test", "host.test")
        .ptr("192.0.2.1", "host.test")
        .exists("empty.test")
        .servfail("fail.test")
        .refused("refused.test")
        .silent("silent.test")
        .ttl(60);
    let name = |text: &str| -> Vec<u8> {
        let labels = text.split('.');
        let labels = labels.flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat());
        labels.chain([0]).collect()
    };
    let numbers: Vec<u8> = [1u32, 2, 3, 4, 5]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    let soa = [name("ns.host.test"), name("root.host.test"), numbers].concat();
    dns.record("host.test", RecordType(2), name("ns.host.test"));
    dns.record("host.test", RecordType(6), soa);
    let srv = [vec![0, 1, 0, 2, 0, 25], name("to.host.test")].concat();
    dns.record("_x._tcp.host.test", RecordType(33), srv);
    let caa = [&[0, 5], b"issue".as_slice(), b"ca.test"].concat();
    dns.record("host.test", RecordType(257), caa);

    let server = Server::start(install_with(QUESTIONS).config("net-utils.ini", &dns.config()));
    let _client = server.client();
    server.wait_for_log("all asked", DEADLINE);
    let log = server.log_text();
    let parts = format!("txt: [[\"{}\",\"{}\"]]", "x".repeat(255), "x".repeat(45));
    for line in [
        r#"a: ["192.0.2.1"]"#,
        r#"ttl: [{"address":"192.0.2.1","ttl":60}]"#,
        r#"aaaa: [["2001:db8::1"]]"#,
        r#"mx: [{"exchange":"mx.host.test","priority":10}]"#,
        &parts,
        r#"ns: ["ns.host.test"]"#,
        r#"srv: [{"name":"to.host.test","port":25,"priority":1,"weight":2}]"#,
        r#"soa: {"#,
        r#""hostmaster":"root.host.test""#,
        r#"caa: [{"critical":0,"issue":"ca.test"}]"#,
        r#"cname: ["host.test"]"#,
        r#"through: ["192.0.2.1"]"#,
        r#"ptr: ["host.test"]"#,
        r#"look: ["192.0.2.1",4]"#,
        r#"all: [{"address":"192.0.2.1","family":4},{"address":"2001:db8::1","family":6}]"#,
        r#"six: {"address":"2001:db8::1","family":6}"#,
        "none: ENOTFOUND queryA none.test queryA ENOTFOUND none.test",
        "nodata: ENODATA queryMx empty.test queryMx ENODATA empty.test",
        "fail: ESERVFAIL queryTxt fail.test queryTxt ESERVFAIL fail.test",
        "refused: EREFUSED queryTxt refused.test queryTxt EREFUSED refused.test",
        "lookfail: ENOTFOUND getaddrinfo none.test getaddrinfo ENOTFOUND none.test",
        "servers: 1",
        "late: ETIMEOUT queryA silent.test queryA ETIMEOUT silent.test",
        "cancelled: ECANCELLED queryA silent.test queryA ECANCELLED silent.test",
        "kind: ERR_INVALID_ARG_VALUE",
        "bad: ERR_INVALID_IP_ADDRESS",
    ] {
        assert!(log.contains(line), "{line} is missing in\n{log}");
    }
}

// covers PLG-07
#[test]
fn sockets_of_a_plugin_do_not_keep_a_worker_and_close_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::start(install_with(&format!(
        r#"
        const net = require('net')
        exports.hook_connect = function (next) {{
            const socket = net.connect({port}, '127.0.0.1')
            socket.on('data', (data) => {{
                this.loginfo(`got ${{data}}`)
                throw new Error('thrown at data')
            }})
            socket.on('connect', () => socket.write('hello'))
            next()
        }}"#
    )));
    let mut client = greeted(&server);
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut said = [0; 5];
    peer.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
    peer.write_all(b"one").unwrap();
    server.wait_for_log("got one", DEADLINE);
    server.wait_for_log("thrown at data", DEADLINE);
    // What a listener throws costs neither the socket nor the worker.
    peer.write_all(b"two").unwrap();
    server.wait_for_log("got two", DEADLINE);
    client.cmd("QUIT").expect(221);
    drop(server);
    assert_eq!(peer.read(&mut said).unwrap_or_default(), 0);
}
