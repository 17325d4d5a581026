//! Which Host and Origin a request may name.
//!
//! A web page that somebody opens on this machine can send requests here: by pointing its own DNS
//! name at 127.0.0.1 (then Host is that name), or by sending them across origins (then Origin is).
//! In open mode nothing else would stop it from approving a deployment.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri, header};
use sluice_proto::error::ErrorCode;

use crate::config::GatewayConfig;
use crate::error::GatewayError;
use crate::failure::Failure;

/// Hosts and origins that are ours.
#[derive(Debug, Default)]
pub(crate) struct OriginPolicy {
    hosts: Vec<Host>,
    origins: Vec<Origin>,
}

impl OriginPolicy {
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let mut policy = Self::default();
        for host in &config.allowed_hosts {
            policy.hosts.push(Host::parse(host).ok_or_else(|| GatewayError::BadSetting {
                setting: "allowed host",
                value: host.clone(),
                expected: "a host name with or without a port",
            })?);
        }
        for origin in &config.allowed_origins {
            policy.origins.push(Origin::parse(origin).ok_or_else(|| GatewayError::BadSetting {
                setting: "allowed origin",
                value: origin.clone(),
                expected: "an origin like https://portal.example.com",
            })?);
        }
        if let Some(url) = &config.public_url {
            let public = Origin::parse(url).ok_or_else(|| GatewayError::BadSetting {
                setting: "public URL",
                value: url.clone(),
                expected: "a URL like https://sluice.example.com",
            })?;
            policy.hosts.push(Host { name: public.host.name.clone(), port: None });
            policy.origins.push(public);
        }
        Ok(policy)
    }

    /// Refuses what is not ours.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = requested_host(uri, headers)?;
        if !host.is_loopback() && !self.hosts.iter().any(|ours| ours.covers(&host)) {
            return Err(forbidden(format!(
                "host '{}' is not served here; name it with SLUICE_PUBLIC_URL or SLUICE_ALLOWED_HOSTS if it should be",
                host.name
            )));
        }
        let Some(origin) = single(headers, &header::ORIGIN)? else { return Ok(()) };
        match Origin::parse(origin) {
            Some(origin) if origin.is_page_of(&host) || self.origins.contains(&origin) => Ok(()),
            _ => Err(forbidden(format!(
                "pages of '{}' may not send requests here; name it with SLUICE_ALLOWED_ORIGINS if they should",
                origin.chars().take(200).collect::<String>()
            ))),
        }
    }
}

/// The host of an absolute request target wins over the Host header (RFC 9112, section 3.2.2), so
/// both have to be the same.
fn requested_host(uri: &Uri, headers: &HeaderMap) -> Result<Host, Failure> {
    let header = single(headers, &header::HOST)?;
    let target = uri.authority().map(Authority::as_str);
    let text = match (target, header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => None,
        (target, header) => target.or(header),
    };
    text.and_then(Host::parse)
        .ok_or_else(|| forbidden("the Host header is missing, doubled or no host"))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let first = values
        .next()
        .map(|value| value.to_str().map_err(|_| forbidden(format!("{name} is no text"))));
    if values.next().is_some() {
        return Err(forbidden(format!("{name} is given more than once")));
    }
    first.transpose()
}

fn forbidden(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::ForbiddenOrigin, detail)
}

/// A host in lower case, brackets of IPv6 addresses removed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let port = authority.port_u16();
        let has_port = text.len() > authority.host().len();
        if authority.as_str().contains('@') || (has_port && port.is_none()) {
            return None;
        }
        let name =
            authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self { name, port })
    }

    fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// A configured host without a port stands for every port.
    fn covers(&self, other: &Self) -> bool {
        self.name == other.name && (self.port.is_none() || self.port == other.port)
    }
}

/// What a browser sends as Origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: Host,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.trim_end_matches('/').parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let mut host = Host::parse(uri.authority()?.as_str())?;
        host.port = host.port.or(Some(if https { 443 } else { 80 }));
        Some(Self { https, host })
    }

    /// Whether the page was served under the host that the request names. A page on this machine
    /// may spell it in another way (`localhost`, `127.0.0.1`), as long as the port is the same.
    fn is_page_of(&self, host: &Host) -> bool {
        let port = host.port.unwrap_or(if self.https { 443 } else { 80 });
        let same_name = self.host.name == host.name;
        (same_name || (self.host.is_loopback() && host.is_loopback()))
            && self.host.port == Some(port)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn policy() -> OriginPolicy {
        let host = |text| Host::parse(text).unwrap();
        let public = Origin::parse("https://sluice.example.com").unwrap();
        OriginPolicy {
            hosts: vec![host("sluice.example.com"), host("node7:9000")],
            origins: vec![public, Origin::parse("https://portal.example.com").unwrap()],
        }
    }

    fn check(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        policy().check(&Uri::from_static("/x"), &headers).is_ok()
    }

    #[test]
    fn hosts() {
        let ours = [
            "localhost",
            "LOCALHOST:8001",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8001",
            "sluice.example.com",
            "sluice.example.com:8443",
            "node7:9000",
        ];
        let foreign = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:1",
            "node7",
            "node7:9001",
            "user@localhost",
            "localhost:99999",
            "localhost:",
            "0.0.0.0",
            "",
        ];
        ours.iter().for_each(|host| assert!(check(host, None), "{host}"));
        foreign.iter().for_each(|host| assert!(!check(host, None), "{host}"));
    }

    #[test]
    fn origins() {
        let cases = [
            ("localhost:8001", "http://localhost:8001", true),
            ("localhost:8001", "http://127.0.0.1:8001", true),
            ("localhost:8001", "http://localhost:3000", false),
            ("localhost:8001", "https://evil.example", false),
            ("localhost:8001", "http://evil.example:8001", false),
            ("localhost:8001", "null", false),
            ("localhost:8001", "https://portal.example.com", true),
            ("localhost:8001", "http://portal.example.com", false),
            ("sluice.example.com", "https://sluice.example.com", true),
            ("localhost", "http://localhost", true),
        ];
        for (host, origin, expected) in cases {
            assert_eq!(check(host, Some(origin)), expected, "{host} {origin}");
        }
    }

    #[test]
    fn a_second_or_missing_host_is_foreign() {
        let mut headers = HeaderMap::new();
        assert!(policy().check(&Uri::from_static("/"), &headers).is_err());
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(policy().check(&Uri::from_static("http://evil.example/"), &headers).is_err());
        assert!(policy().check(&Uri::from_static("/"), &headers).is_ok());
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(policy().check(&Uri::from_static("/"), &headers).is_err());
    }
}
