//! Which service a request means, from its Host header.

use api::Problem;
use hyper::{HeaderMap, Uri, header};
use std::net::IpAddr;
use types::{ErrorKind, check_name};

/// Names beneath it are services; the label before it is a tenant.
const INTERNAL: &str = "svc.cloudskin.internal";

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The service with this name in our DNS.
    Service(String),
    /// This ingress itself.
    Ingress,
}

/// Finds what the request is for. Names that are not ours, and pages of other origins, are
/// refused: else any web page could use the services through its visitor's browser.
pub(super) fn target(headers: &HeaderMap, uri: &Uri) -> Result<Target, Problem> {
    let refuse = |message: &str| Problem::new(ErrorKind::Forbidden, message);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Problem::new(ErrorKind::Invalid, "the request has two Host headers"));
    }
    let host = uri.authority().map(hyper::http::uri::Authority::as_str).or(text(header::HOST));
    let host = host.ok_or_else(|| Problem::new(ErrorKind::Invalid, "the request has no Host"))?;
    let target = parse(host)
        .ok_or_else(|| refuse("this ingress serves `<service>.localhost` and no other host"))?;
    match headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("")) {
        Some(origin) if !is_own_origin(origin) => {
            Err(refuse("pages of other origins may not use this ingress"))
        }
        _ => Ok(target),
    }
}

fn is_own_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| parse(host).is_some())
}

/// What a Host means: `name.localhost`, `name.tenant.localhost`, the name in our DNS, or a
/// loopback address.
fn parse(host: &str) -> Option<Target> {
    let host = without_port(host)?.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let is_loopback = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .is_ok_and(|address: IpAddr| address.is_loopback());
    if host == "localhost" || is_loopback {
        return Some(Target::Ingress);
    }
    let labels = match (host.strip_suffix(".localhost"), host.strip_suffix(INTERNAL)) {
        (Some(labels), _) => labels,
        (None, Some(labels)) => labels.strip_suffix('.')?,
        (None, None) => return None,
    };
    let (service, tenant) = labels.split_once('.').unwrap_or((labels, api::DEFAULT_TENANT));
    check_name(service).ok()?;
    check_name(tenant).ok()?;
    Some(Target::Service(format!("{service}.{tenant}.{INTERNAL}")))
}

fn without_port(host: &str) -> Option<&str> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            (port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
        }
        _ => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn ask(host: &str, origin: Option<&str>) -> Result<Target, ErrorKind> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        target(&headers, &Uri::from_static("/")).map_err(|problem| problem.kind)
    }

    #[test]
    fn the_host_names_the_service() {
        let service = |name: &str| Ok(Target::Service(format!("{name}.svc.cloudskin.internal")));

        assert_eq!(ask("a.localhost:8080", None), service("a.default"));
        assert_eq!(ask("A.Localhost.", None), service("a.default"));
        assert_eq!(ask("a.blue.localhost", None), service("a.blue"));
        assert_eq!(ask("a.blue.svc.cloudskin.internal:80", None), service("a.blue"));
        for own in ["localhost:8080", "127.0.0.1", "127.77.3.1:8080", "[::1]:8080", "[::1]"] {
            assert_eq!(ask(own, None), Ok(Target::Ingress), "{own}");
        }
    }

    #[test]
    fn other_hosts_and_origins_are_refused() {
        for host in [
            "evil.example",
            "a.localhost.evil.example",
            "10.0.0.1",
            "a.localhost:80x",
            "-.localhost",
            "a.b.c.localhost",
            ".localhost",
            "svc.cloudskin.internal",
            "x:1:2",
            "a_b.localhost",
            "evilsvc.cloudskin.internal",
        ] {
            assert_eq!(ask(host, None), Err(ErrorKind::Forbidden), "{host}");
        }
        for origin in ["https://evil.example", "null", "", "file://a.localhost"] {
            assert_eq!(ask("a.localhost", Some(origin)), Err(ErrorKind::Forbidden), "{origin}");
        }
        assert!(ask("a.localhost", Some("http://b.localhost:8080")).is_ok());
        assert!(target(&HeaderMap::new(), &Uri::from_static("/")).is_err());
    }
}
