//! The entries for MTA-STS: its TXT record, its policy, and the web server's answer around that.

use haraka_worker::outbound::policy::http_response::{HttpError, body};
use haraka_worker::outbound::policy::sts_text::{Mode, StsPolicy, announced};

pub fn record(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let records: Vec<&str> = text.split('\n').collect();
    if let Some(id) = announced(&records) {
        assert!((1..=32).contains(&id.len()));
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()));
        let ours = records.iter().filter(|r| r.starts_with("v=STSv1"));
        assert!(ours.count() >= 1);
    }
}

pub fn policy(input: &[u8]) {
    let Ok(policy) = StsPolicy::parse(input) else {
        return;
    };
    assert!(policy.mode == Mode::None || !policy.mx.is_empty());
    assert!(policy.max_age.as_secs() <= 31_557_600);
    let again = StsPolicy::parse(policy.to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&policy));
    for pattern in &policy.mx {
        match pattern.strip_prefix("*.") {
            None => assert!(policy.lists(pattern)),
            Some(parent) => {
                assert!(policy.lists(&format!("host.{parent}")));
                let alone = StsPolicy {
                    mx: vec![pattern.clone()],
                    ..policy.clone()
                };
                assert!(!alone.lists(parent) && !alone.lists(&format!("a.b.{parent}")));
            }
        }
    }
}

pub fn answer(input: &[u8]) {
    const LIMIT: usize = 1000;
    let (received, at) = super::cut(input);
    let whole = body(received, true, LIMIT);
    match &whole {
        Ok(content) => assert!(content.as_ref().is_some_and(|c| c.len() <= LIMIT)),
        Err(HttpError::Short) => assert_eq!(body(received, false, LIMIT), Ok(None)),
        Err(_) => {}
    }
    // What was decided from a part is not decided otherwise once there is more.
    match body(&received[..at], false, LIMIT) {
        Ok(None) => {}
        decided => assert_eq!(decided, whole),
    }
}
