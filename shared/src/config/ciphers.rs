//! OpenSSL's lists of ciphers, as `ciphers` of tls.ini has them (TLS-04), read for the suites that
//! this server has.
//!
//! Pure: text in, suites out, with what could not be understood. Nothing here knows a TLS library.

/// A suite that this server has. All are authenticated, all but those of TLS 1.3 agree on keys with
/// ECDHE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// TLS 1.3: `TLS_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// TLS 1.3: `TLS_AES_128_GCM_SHA256`.
    Aes128Gcm,
    /// TLS 1.3: `TLS_CHACHA20_POLY1305_SHA256`.
    ChaCha20,
    /// TLS 1.2: `ECDHE-ECDSA-AES256-GCM-SHA384`.
    EcdsaAes256Gcm,
    /// TLS 1.2: `ECDHE-ECDSA-AES128-GCM-SHA256`.
    EcdsaAes128Gcm,
    /// TLS 1.2: `ECDHE-ECDSA-CHACHA20-POLY1305`.
    EcdsaChaCha20,
    /// TLS 1.2: `ECDHE-RSA-AES256-GCM-SHA384`.
    RsaAes256Gcm,
    /// TLS 1.2: `ECDHE-RSA-AES128-GCM-SHA256`.
    RsaAes128Gcm,
    /// TLS 1.2: `ECDHE-RSA-CHACHA20-POLY1305`.
    RsaChaCha20,
}

/// A suite's names and the words of OpenSSL that mean it among others.
struct Named {
    cipher: Cipher,
    openssl: &'static str,
    /// As in RFC 8446 and RFC 5289; OpenSSL takes these names too.
    standard: &'static str,
    words: &'static [&'static str],
}

/// Words of every suite of TLS 1.2 here.
const ALL: [&str; 10] = [
    "ALL", "HIGH", "DEFAULT", "ECDHE", "EECDH", "KECDHE", "KEECDH", "TLSV1.2", "AEAD", "FIPS",
];

/// In the order of preference.
const TABLE: [Named; 9] = [
    Named {
        cipher: Cipher::Aes256Gcm,
        openssl: "TLS_AES_256_GCM_SHA384",
        standard: "TLS_AES_256_GCM_SHA384",
        words: &[],
    },
    Named {
        cipher: Cipher::Aes128Gcm,
        openssl: "TLS_AES_128_GCM_SHA256",
        standard: "TLS_AES_128_GCM_SHA256",
        words: &[],
    },
    Named {
        cipher: Cipher::ChaCha20,
        openssl: "TLS_CHACHA20_POLY1305_SHA256",
        standard: "TLS_CHACHA20_POLY1305_SHA256",
        words: &[],
    },
    Named {
        cipher: Cipher::EcdsaAes256Gcm,
        openssl: "ECDHE-ECDSA-AES256-GCM-SHA384",
        standard: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        words: &[
            "AECDSA",
            "ECDSA",
            "AES",
            "AES256",
            "AESGCM",
            "SHA384",
            "SUITEB192",
        ],
    },
    Named {
        cipher: Cipher::EcdsaAes128Gcm,
        openssl: "ECDHE-ECDSA-AES128-GCM-SHA256",
        standard: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        words: &[
            "AECDSA",
            "ECDSA",
            "AES",
            "AES128",
            "AESGCM",
            "SHA256",
            "SUITEB128",
        ],
    },
    Named {
        cipher: Cipher::EcdsaChaCha20,
        openssl: "ECDHE-ECDSA-CHACHA20-POLY1305",
        standard: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        words: &["AECDSA", "ECDSA", "CHACHA20"],
    },
    Named {
        cipher: Cipher::RsaAes256Gcm,
        openssl: "ECDHE-RSA-AES256-GCM-SHA384",
        standard: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        words: &["ARSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Named {
        cipher: Cipher::RsaAes128Gcm,
        openssl: "ECDHE-RSA-AES128-GCM-SHA256",
        standard: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        words: &["ARSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
    Named {
        cipher: Cipher::RsaChaCha20,
        openssl: "ECDHE-RSA-CHACHA20-POLY1305",
        standard: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        words: &["ARSA", "CHACHA20"],
    },
];

/// What a list may take out that is not here anyway: neither worth a word nor an error.
const ABSENT: [&str; 29] = [
    "ANULL", "ENULL", "NULL", "EXPORT", "EXP", "LOW", "MEDIUM", "DES", "3DES", "MD5", "PSK", "SRP",
    "RC2", "RC4", "IDEA", "SEED", "CAMELLIA", "ARIA", "DSS", "ADSS", "ADH", "AECDH", "DH", "KRSA",
    "DHE", "EDH", "SHA1", "SHA", "KDHE",
];

impl Cipher {
    /// All, in the order of preference.
    pub fn all() -> impl Iterator<Item = Cipher> {
        TABLE.iter().map(|named| named.cipher)
    }

    /// OpenSSL's name.
    pub fn openssl_name(self) -> &'static str {
        self.named().openssl
    }

    /// The name in the registry of RFC 8446.
    pub fn standard_name(self) -> &'static str {
        self.named().standard
    }

    /// Whether it belongs to TLS 1.3; else to TLS 1.2.
    pub fn is_tls13(self) -> bool {
        matches!(
            self,
            Cipher::Aes256Gcm | Cipher::Aes128Gcm | Cipher::ChaCha20
        )
    }

    fn named(self) -> &'static Named {
        let [first, ..] = &TABLE;
        let found = TABLE.iter().find(|named| named.cipher == self);
        found.unwrap_or(first)
    }
}

impl Named {
    /// Whether an item of a list means it: its name, a word, or several words joined by `+`.
    fn is(&self, item: &str) -> bool {
        let same = |name: &str| item.eq_ignore_ascii_case(name);
        if same(self.openssl) || same(self.standard) {
            return true;
        }
        if self.cipher.is_tls13() {
            return false;
        }
        item.split('+').all(|word| {
            let mut known = ALL.iter().chain(self.words);
            known.any(|known| word.eq_ignore_ascii_case(known))
        })
    }
}

/// What a list comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The suites in the order of the list; never empty.
    pub suites: Vec<Cipher>,
    /// Items that mean nothing here.
    pub ignored: Vec<String>,
}

/// Reads a list of ciphers in OpenSSL's words: items between colons, `!` for never, `-` for not,
/// `+` in front for last. The suites of TLS 1.3 all count unless the list names some of them, as
/// none of them is weak.
///
/// # Errors
/// The list leaves no suite.
pub fn select(list: &str) -> Result<Selection, String> {
    let mut chosen: Vec<Cipher> = Vec::new();
    let mut never: Vec<Cipher> = Vec::new();
    let mut ignored = Vec::new();
    let items = list.split([':', ',', ' ', ';']).filter(|i| !i.is_empty());
    for item in items {
        let (sign, name) = match item.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), name)) => (sign, name),
            _ => ("", item),
        };
        let meant: Vec<Cipher> = TABLE
            .iter()
            .filter(|named| named.is(name))
            .map(|named| named.cipher)
            .collect();
        if meant.is_empty() {
            if !is_harmless(sign, name) {
                ignored.push(item.to_owned());
            }
            continue;
        }
        match sign {
            "!" => {
                chosen.retain(|c| !meant.contains(c));
                never.extend(meant);
            }
            "-" => chosen.retain(|c| !meant.contains(c)),
            "+" => {
                let (last, first) = chosen.iter().partition(|c| meant.contains(c));
                chosen = first;
                chosen.extend::<Vec<Cipher>>(last);
            }
            _ => {
                let new = meant.into_iter().filter(|c| !never.contains(c));
                let new: Vec<_> = new.filter(|c| !chosen.contains(c)).collect();
                chosen.extend(new);
            }
        }
    }
    if chosen.is_empty() {
        return Err(format!("\"{list}\" names no cipher that is offered"));
    }
    if !chosen.iter().any(|c| c.is_tls13()) {
        let tls13 = Cipher::all().filter(|c| c.is_tls13() && !never.contains(c));
        chosen = tls13.chain(chosen).collect();
    }
    Ok(Selection {
        suites: chosen,
        ignored,
    })
}

/// Whether an item that means no suite changes nothing: it takes out what is not here, or sets an
/// order that holds anyway.
fn is_harmless(sign: &str, name: &str) -> bool {
    let absent = |word: &str| ABSENT.iter().any(|a| word.eq_ignore_ascii_case(a));
    let is_order = name.starts_with("@STRENGTH") || name.starts_with("@SECLEVEL");
    is_order || (!sign.is_empty() && (name.split('+').any(absent) || name.contains("CBC")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> (Vec<&'static str>, Vec<String>) {
        let selection = select(list).unwrap();
        let suites = selection.suites.iter().map(|c| c.openssl_name());
        (suites.collect(), selection.ignored)
    }

    const TLS13: [&str; 3] = [
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];

    // covers TLS-04
    #[test]
    fn named_ciphers_keep_their_order_and_the_unknown_are_told() {
        let list =
            "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:AES128-SHA:DES-CBC3-SHA";
        let (suites, ignored) = names(list);
        assert_eq!(suites[..3], TLS13);
        assert_eq!(
            suites[3..],
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(ignored, ["AES128-SHA", "DES-CBC3-SHA"]);
    }

    #[test]
    fn words_stand_for_many_and_exclusions_of_what_is_absent_are_silent() {
        let (suites, ignored) = names("HIGH:!aNULL:!eNULL:!EXPORT:!DES:!MD5:!PSK:!RC4:@STRENGTH");
        assert_eq!((suites.len(), ignored), (9, Vec::<String>::new()));
        let (suites, ignored) = names("EECDH+AESGCM:EDH+aRSA+AESGCM:EECDH+AES256");
        assert_eq!(suites.len(), 7);
        assert_eq!(ignored, ["EDH+aRSA+AESGCM"]);
    }

    #[test]
    fn signs_remove_for_now_for_ever_and_move_to_the_end() {
        let (suites, _) = names("HIGH:!ECDSA:-CHACHA20:ECDSA");
        assert_eq!(
            suites[3..],
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        let (suites, _) = names("HIGH:+AES256");
        assert_eq!(suites[8], "ECDHE-RSA-AES256-GCM-SHA384");
    }

    #[test]
    fn list_of_tls13_names_alone_leaves_the_others_out() {
        let (suites, _) = names("TLS_AES_128_GCM_SHA256");
        assert_eq!(suites, ["TLS_AES_128_GCM_SHA256"]);
        let (suites, _) =
            names("TLS_CHACHA20_POLY1305_SHA256:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(
            suites,
            [
                "TLS_CHACHA20_POLY1305_SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256"
            ]
        );
    }

    #[test]
    fn list_without_any_cipher_of_ours_is_an_error() {
        let e = select("RC4-SHA:!HIGH").unwrap_err();
        assert_eq!(e, "\"RC4-SHA:!HIGH\" names no cipher that is offered");
        assert!(select("").is_err());
    }
}
