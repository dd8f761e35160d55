//! Checks of sources and sinks that use HTTP.

use crate::part_errors::PartErrors;
use crate::spec::TlsSpec;

/// Checks the TLS settings of a server: it has a certificate and does not verify those of clients.
pub fn server_certificate(tls: &TlsSpec, part: &PartErrors<'_>) {
    let (key, why) = match tls {
        tls if tls.ca.is_some() => ("tls.ca", "`tls.ca` is for connections to a server"),
        tls if tls.name.is_some() => ("tls.name", "`tls.name` is for connections to a server"),
        tls if tls.own.is_none() => ("tls", "`tls` needs a server certificate"),
        _ => return,
    };
    part.wrong(key, format!("{why}; write tls = {{ cert = \"own.pem\", key = \"own.key\" }}"));
}

/// Checks that a token fits into a header.
pub fn token_fits(token: &str, part: &PartErrors<'_>) {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // It is not repeated: it may be a secret.
        let message = "`token` is empty, or has characters that a header cannot have; write visible ASCII characters";
        part.wrong("token", message);
    }
}
