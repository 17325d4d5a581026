//! Server addresses with credentials in them.

use crate::error::BusError;

/// A server URL taken apart, because the client library ignores credentials inside of one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// Without credentials: may be logged.
    pub(crate) address: String,
    pub(crate) credentials: Option<(String, String)>,
}

impl ServerUrl {
    /// Reads `nats://user:password@host:port`; scheme, credentials and port may be left out.
    pub(crate) fn parse(text: &str) -> Result<Self, BusError> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("nats", text.trim()));
        if !matches!(scheme, "nats" | "tls") {
            return Err(BusError::InvalidConfig(format!(
                "NATS URL: unknown scheme '{scheme}', use nats:// or tls://"
            )));
        }
        // The last `@`: a password may hold one that nobody encoded.
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        if host.is_empty() {
            return Err(BusError::InvalidConfig("NATS URL: no host".to_owned()));
        }
        let credentials = login
            .map(|login| {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                Ok::<_, BusError>((decode(user)?, decode(password)?))
            })
            .transpose()?;
        Ok(Self { address: format!("{scheme}://{host}"), credentials })
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, BusError> {
    let invalid = || {
        BusError::InvalidConfig("NATS URL: credentials are not percent-encoded UTF-8".to_owned())
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = if *first == b'%' {
            let digits =
                tail.get(..2).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(invalid)?;
            (u8::from_str_radix(digits, 16).map_err(|_| invalid())?, &tail[2..])
        } else {
            (*first, tail)
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_and_decoded() {
        let cases = [
            ("localhost", "nats://localhost", None),
            ("nats://h:4222", "nats://h:4222", None),
            ("tls://u:p@h:4222", "tls://h:4222", Some(("u", "p"))),
            ("nats://u%40x:p%3A%2F@[::1]:4222", "nats://[::1]:4222", Some(("u@x", "p:/"))),
            ("nats://u:p@ss@h", "nats://h", Some(("u", "p@ss"))),
        ];
        for (text, address, credentials) in cases {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.address, address);
            let expected = credentials.map(|(u, p)| (u.to_owned(), p.to_owned()));
            assert_eq!(url.credentials, expected, "{text}");
        }
        for text in ["http://h", "nats://", "nats://u:%zz@h", "nats://u:%f@h"] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
    }
}
