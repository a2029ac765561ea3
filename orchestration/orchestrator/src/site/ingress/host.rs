//! Which service a `Host` names.

use std::{borrow::Cow, net::IpAddr};

/// Endings of a service's full name; `<service>.<tenant>` stands before them.
const SUFFIXES: [&str; 2] = [".svc.cloudskin.internal", ".localhost"];

/// What a host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// A service of a tenant.
    Service { tenant: Cow<'a, str>, name: Cow<'a, str> },
    /// This site's ingress itself.
    Ingress,
    /// Somebody else: a page of another origin tries to talk to us under its own name.
    Foreign,
}

/// Reads `<service>`, `<service>.localhost`, `<service>.<tenant>.localhost` and
/// `<service>.<tenant>.svc.cloudskin.internal`, each with or without a port.
pub(super) fn named(host: &str) -> Named<'_> {
    if host.parse::<IpAddr>().is_ok() {
        return Named::Ingress;
    }
    let Some(host) = without_port(host) else { return Named::Foreign };
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || host == "localhost" {
        return Named::Ingress;
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return match labels(&host.to_ascii_lowercase()) {
            Some((tenant, name)) => Named::Service {
                tenant: Cow::Owned(tenant.to_owned()),
                name: Cow::Owned(name.to_owned()),
            },
            None => Named::Foreign,
        };
    }
    labels(host).map_or(Named::Foreign, |(tenant, name)| Named::Service {
        tenant: Cow::Borrowed(tenant),
        name: Cow::Borrowed(name),
    })
}

fn without_port(host: &str) -> Option<&str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => name,
        Some((name, _)) if name.starts_with('[') && host.ends_with(']') => host,
        Some(_) => return None,
        None => host,
    };
    Some(host.strip_suffix('.').unwrap_or(host))
}

/// Tenant and name.
fn labels(host: &str) -> Option<(&str, &str)> {
    let (internal, local) = (host.strip_suffix(SUFFIXES[0]), host.strip_suffix(SUFFIXES[1]));
    let (tenant, name) = match (internal, local) {
        (Some(full), _) => full.split_once('.').map(|(name, tenant)| (tenant, name))?,
        (None, Some(short)) => short
            .split_once('.')
            .map_or((api::DEFAULT_TENANT, short), |(name, tenant)| (tenant, name)),
        (None, None) => (api::DEFAULT_TENANT, host),
    };
    let both = types::check_name(tenant).and(types::check_name(name));
    both.is_ok().then_some((tenant, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_services_in_every_documented_form() {
        let service = |tenant: &'static str| Named::Service {
            tenant: tenant.into(),
            name: "street-counter".into(),
        };
        for host in [
            "street-counter",
            "street-counter.localhost",
            "street-counter.localhost:8080",
            "Street-Counter.LOCALHOST:80",
            "street-counter.localhost.",
            "street-counter.default.svc.cloudskin.internal",
        ] {
            assert_eq!(named(host), service("default"), "{host}");
        }
        for host in
            ["street-counter.acme.localhost:1", "street-counter.acme.svc.cloudskin.internal"]
        {
            assert_eq!(named(host), service("acme"), "{host}");
        }
    }

    #[test]
    fn addresses_are_the_ingress_and_the_rest_is_foreign() {
        for host in ["127.0.0.2", "127.0.0.2:8080", "[::1]:80", "[::1]", "::1", "localhost:8080"] {
            assert_eq!(named(host), Named::Ingress, "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "evil.example",
            "a.b.c.localhost",
            "a..localhost",
            ".localhost",
            "street-counter.svc.cloudskin.internal",
            "a:b",
            "a:99999",
            "-a",
            "a b",
            "é.localhost",
            "localhost.evil.example",
            "a.localhost:80:80",
        ] {
            assert_eq!(named(host), Named::Foreign, "{host}");
        }
    }
}
