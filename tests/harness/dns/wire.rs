//! DNS packets: questions in, answers out (RFC 1035 §4, EDNS size of RFC 6891). Pure functions.
//! Written apart from the resolver under test, so that both cannot share one mistake.

use std::net::IpAddr;

/// A record type by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType(pub u16);

impl RecordType {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const PTR: Self = Self(12);
    pub const MX: Self = Self(15);
    pub const TXT: Self = Self(16);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const TLSA: Self = Self(52);
}

#[derive(Clone, Copy)]
pub enum Rcode {
    NoError = 0,
    ServFail = 2,
    NxDomain = 3,
    Refused = 5,
}

/// What matters of a query's header and its EDNS record.
pub struct Header {
    pub id: [u8; 2],
    recursion: bool,
    edns: bool,
    /// The asker wants to know what is signed (DO, or AD as in RFC 6840 §5.7).
    pub wants_proof: bool,
    /// Largest UDP answer that the asker takes.
    pub udp_size: u16,
}

/// The one question of a query.
pub struct Question {
    /// Folded to lower case, without final dot.
    pub name: String,
    pub kind: u16,
    /// As it came, to be repeated in the answer: askers check the case of the letters.
    wire: Vec<u8>,
}

/// Reads a query with one question; `None` for anything else.
pub fn parse_query(packet: &[u8]) -> Option<(Header, Question)> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let flags = word(2)?;
    let is_query = flags & 0x8000 == 0 && (flags >> 11) & 15 == 0;
    if !is_query || word(4)? != 1 {
        return None;
    }
    let (name, after) = read_name(packet, 12)?;
    let kind = word(after)?;
    let wire = packet.get(12..after + 4)?.to_vec();
    let (edns, udp_size, proof) = match word(10)? {
        0 => (false, 512, false),
        // The only additional record of a query in use is OPT: root name, type 41, class = size, and
        // flags in the place of the lower half of the time to live.
        _ if word(after + 5)? == 41 => {
            let size = word(after + 7)?.max(512);
            (true, size, word(after + 11)? & 0x8000 != 0)
        }
        _ => (false, 512, false),
    };
    let header = Header {
        id: [packet[0], packet[1]],
        recursion: flags & 0x100 != 0,
        edns,
        wants_proof: proof || flags & 0x20 != 0,
        udp_size,
    };
    Some((
        header,
        Question {
            name: folded(&name),
            kind,
            wire,
        },
    ))
}

/// An answer; without records it carries a SOA, as askers want one for "there is nothing" (RFC 2308).
pub fn reply(
    header: &Header,
    question: &Question,
    rcode: Rcode,
    records: &[(String, u16, Vec<u8>)],
    ttl: u32,
    authentic: bool,
) -> Vec<u8> {
    let negative = records.is_empty() && matches!(rcode, Rcode::NoError | Rcode::NxDomain);
    let mut packet = start(header, question, rcode as u8, false);
    packet[3] |= u8::from(authentic) << 5; // AD
    packet[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    packet[8..10].copy_from_slice(&u16::from(negative).to_be_bytes());
    for (owner, kind, data) in records {
        put_record(&mut packet, owner, *kind, ttl, data);
    }
    if negative {
        let mut soa = Vec::new();
        put_name(&mut soa, "ns.invalid");
        put_name(&mut soa, "hostmaster.invalid");
        for number in [1, 3600, 600, 86400, ttl] {
            soa.extend_from_slice(&u32::to_be_bytes(number));
        }
        put_record(&mut packet, apex(&question.name), 6, ttl, &soa);
    }
    put_opt(&mut packet, header);
    packet
}

/// An answer with the TC bit and nothing else.
pub fn truncated(header: &Header, question: &Question) -> Vec<u8> {
    let mut packet = start(header, question, 0, true);
    put_opt(&mut packet, header);
    packet
}

/// The answer to what is not a query: FORMERR.
pub fn format_error(id: [u8; 2]) -> Vec<u8> {
    vec![id[0], id[1], 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A name as used for look-ups: lower case, no final dot.
pub fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The name under which the PTR record of an address is kept.
pub fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip
                .octets()
                .into_iter()
                .rev()
                .flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles
                .map(|nibble| format!("{nibble:x}."))
                .collect::<String>()
                + "ip6.arpa"
        }
    }
}

/// Appends a name without compression.
pub fn put_name(packet: &mut Vec<u8>, name: &str) {
    for label in folded(name).split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
}

/// The name that encoded data starts with.
pub fn name_of(data: &[u8]) -> String {
    read_name(data, 0).map_or_else(String::new, |(name, _)| name)
}

/// A name without compression (queries and our own data have none), and the offset after it.
fn read_name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        match length {
            0 => return Some((labels.join("."), at)),
            1..=63 => {
                let label = packet.get(at..at + length)?;
                labels.push(String::from_utf8_lossy(label).into_owned());
                at += length;
            }
            _ => return None,
        }
    }
}

fn start(header: &Header, question: &Question, rcode: u8, cut: bool) -> Vec<u8> {
    // QR, AA, TC; RD as asked; RA.
    let high = 0x84 | u8::from(cut) << 1 | u8::from(header.recursion);
    let mut packet = vec![header.id[0], header.id[1], high, 0x80 | rcode];
    packet.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(header.edns)]);
    packet.extend_from_slice(&question.wire);
    packet
}

fn put_record(packet: &mut Vec<u8>, owner: &str, kind: u16, ttl: u32, data: &[u8]) {
    put_name(packet, owner);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]); // class IN
    packet.extend_from_slice(&ttl.to_be_bytes());
    packet.extend_from_slice(&(data.len() as u16).to_be_bytes());
    packet.extend_from_slice(data);
}

fn put_opt(packet: &mut Vec<u8>, header: &Header) {
    if header.edns {
        packet.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    }
}

/// The last label: where the made-up SOA of a negative answer sits.
fn apex(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or("")
}
