//! What must hold of those that speak HTTP.

use crate::job::part_errors::PartErrors;
use crate::job::spec::TlsSpec;

/// Who listens has a certificate, and looks at nobody's.
pub fn own_certificate(tls: &TlsSpec, part: &PartErrors<'_>) {
    let (key, why) = match tls {
        tls if tls.ca.is_some() => ("tls.ca", "`tls.ca` is for connections to a server"),
        tls if tls.name.is_some() => ("tls.name", "`tls.name` is for connections to a server"),
        tls if tls.own.is_none() => ("tls", "`tls` has no certificate that those could see who connect"),
        _ => return,
    };
    part.wrong(key, format!("{why}; write tls = {{ cert = \"own.pem\", key = \"own.key\" }}"));
}

/// A token stands in a header, where no other letters may.
pub fn token_fits(token: &str, part: &PartErrors<'_>) {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // It is not repeated: it may be a secret.
        let message = "`token` is empty, or has characters that a header cannot have; write visible ASCII characters";
        part.wrong("token", message);
    }
}
