//! Records in the form that Node gives scripts. Pure.

use hickory_resolver::proto::rr::rdata::caa::CAA;
use hickory_resolver::proto::rr::{RData, RecordType};
use serde_json::{Value, json};

use super::relative;

/// The type of this name, as far as Node knows it.
pub(crate) fn kind(name: &str) -> Option<RecordType> {
    Some(match name {
        "A" => RecordType::A,
        "AAAA" => RecordType::AAAA,
        "ANY" => RecordType::ANY,
        "CAA" => RecordType::CAA,
        "CNAME" => RecordType::CNAME,
        "MX" => RecordType::MX,
        "NAPTR" => RecordType::NAPTR,
        "NS" => RecordType::NS,
        "PTR" => RecordType::PTR,
        "SOA" => RecordType::SOA,
        "SRV" => RecordType::SRV,
        "TXT" => RecordType::TXT,
        _ => return None,
    })
}

/// A record as the answer to a question of this type; nothing if it is none, such as the alias on
/// the way to an address. Where all types are asked for, each tells its own.
pub(super) fn shown(asked: RecordType, data: &RData, ttl: u32) -> Option<Value> {
    let any = asked == RecordType::ANY;
    if !any && data.record_type() != asked {
        return None;
    }
    let mut value = plain(data, ttl)?;
    if any {
        value = with_type(data, value);
    }
    Some(value)
}

fn plain(data: &RData, ttl: u32) -> Option<Value> {
    Some(match data {
        RData::A(ip) => json!({ "address": ip.to_string(), "ttl": ttl }),
        RData::AAAA(ip) => json!({ "address": ip.to_string(), "ttl": ttl }),
        RData::MX(mx) => {
            json!({ "exchange": relative(&mx.exchange), "priority": mx.preference })
        }
        RData::TXT(txt) => txt.txt_data.iter().map(|part| latin1(part)).collect(),
        RData::NS(name) => relative(name).into(),
        RData::PTR(name) => relative(name).into(),
        RData::CNAME(name) => relative(name).into(),
        RData::SRV(srv) => json!({
            "name": relative(&srv.target), "port": srv.port,
            "priority": srv.priority, "weight": srv.weight,
        }),
        RData::SOA(soa) => json!({
            "nsname": relative(&soa.mname), "hostmaster": relative(&soa.rname),
            "serial": soa.serial, "refresh": soa.refresh, "retry": soa.retry,
            "expire": soa.expire, "minttl": soa.minimum,
        }),
        RData::NAPTR(naptr) => json!({
            "flags": latin1(&naptr.flags), "service": latin1(&naptr.services),
            "regexp": latin1(&naptr.regexp), "replacement": relative(&naptr.replacement),
            "order": naptr.order, "preference": naptr.preference,
        }),
        RData::CAA(caa) => authorized(caa),
        _ => return None,
    })
}

fn authorized(caa: &CAA) -> Value {
    let mut out = serde_json::Map::new();
    let critical = if caa.issuer_critical { 128 } else { 0 };
    out.insert("critical".to_owned(), critical.into());
    out.insert(caa.tag.clone(), latin1(&caa.value));
    Value::Object(out)
}

fn with_type(data: &RData, value: Value) -> Value {
    let mut out = match value {
        Value::Object(object) => object,
        Value::Array(entries) => [("entries".to_owned(), Value::Array(entries))]
            .into_iter()
            .collect(),
        other => [("value".to_owned(), other)].into_iter().collect(),
    };
    out.insert("type".to_owned(), data.record_type().to_string().into());
    Value::Object(out)
}

/// An octet is a character, as in Node.
fn latin1(octets: &[u8]) -> Value {
    octets
        .iter()
        .map(|b| char::from(*b))
        .collect::<String>()
        .into()
}
