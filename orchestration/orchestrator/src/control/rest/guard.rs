//! Who is let in: by the host that the request was meant for, where it comes from, and its token.

use super::{
    super::{Config, server::Origin, session::Speaker, state::State},
    Refusal,
};
use crate::trust::Party;
use axum::{
    extract::{Request, State as Shared},
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::Response,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use types::ErrorKind;

/// The hosts that requests may be meant for. Anything else is a browser that was lured here by a
/// foreign name.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    allowed: Arc<Vec<String>>,
}

impl Hosts {
    pub(super) fn new(config: &Config, address: SocketAddr) -> Self {
        let mut allowed: Vec<String> =
            config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let bind = config.bind.map(|bind| bind.ip());
        for ip in [address.ip(), config.listen.ip()].into_iter().chain(bind) {
            if !ip.is_unspecified() {
                allowed.push(ip.to_string());
            }
        }
        Self { allowed: Arc::new(allowed) }
    }

    /// Whether `authority`, a host with or without a port, is one of ours.
    fn admit(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback || host == "localhost" || self.allowed.contains(&host)
    }
}

/// The host without port and without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Lets a request through or refuses it; says who speaks on the site link.
pub(super) async fn check(
    Shared((state, hosts)): Shared<(Arc<State>, Hosts)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let origin = request.extensions().get::<Origin>().cloned();
    let origin = origin.unwrap_or_default();
    // Through TLS nobody comes under a foreign name: browsers check it against the certificate.
    if !origin.secured {
        check_host(&hosts, request.headers(), request.uri())?;
    }
    check_origin(&hosts, request.headers())?;
    let speaker = check_caller(&state, &origin, request.headers(), request.uri().path())?;
    if let Some(speaker) = speaker {
        request.extensions_mut().insert(speaker);
    }
    Ok(next.run(request).await)
}

fn forbidden(message: String) -> Refusal {
    Refusal::new(ErrorKind::Forbidden, message)
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::new(ErrorKind::Invalid, format!("`{name}` stands there twice")));
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| Refusal::new(ErrorKind::Invalid, format!("`{name}` is not text")))
}

fn check_host(hosts: &Hosts, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let host = text(headers, &header::HOST)?.or_else(|| uri.authority().map(|host| host.as_str()));
    match host {
        Some(host) if hosts.admit(host) => Ok(()),
        _ => {
            let shown: String = host.unwrap_or("").chars().take(100).collect();
            Err(forbidden(format!(
                "the host `{shown}` is not this control plane's: use its address, or add the name to its `hosts`"
            )))
        }
    }
}

fn check_origin(hosts: &Hosts, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = text(headers, &header::ORIGIN)? else { return Ok(()) };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if authority.is_some_and(|authority| hosts.admit(authority)) {
        return Ok(());
    }
    let shown: String = origin.chars().take(100).collect();
    Err(forbidden(format!("pages of `{shown}` may not use this control plane")))
}

/// Who asks, and whether that is theirs to ask. A site is known by its certificate; on this
/// machine, where there is none, by the token that its sites share.
fn check_caller(
    state: &State,
    origin: &Origin,
    headers: &HeaderMap,
    path: &str,
) -> Result<Option<Speaker>, Refusal> {
    // The page holds nothing: it asks for everything with the token of its reader. Who joins
    // shows a token of another kind.
    if matches!(path, "/healthz" | "/") || (path == api::paths::JOIN && origin.secured) {
        return Ok(None);
    }
    if let Some(speaker) = certified(state, origin)? {
        origin.is_known();
        return match is_for_sites(path) || path == api::paths::RENEW {
            true => Ok(Some(speaker)),
            false => {
                Err(forbidden("a site's certificate opens only the site link and blobs".into()))
            }
        };
    }
    let shown = text(headers, &header::AUTHORIZATION)?
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(shown) = shown else {
        let message = "no token was shown: send `Authorization: Bearer TOKEN`; the token is in `token` of the data folder";
        return Err(Refusal::new(ErrorKind::Unauthenticated, message));
    };
    let user = state.user_token.admits(shown);
    // It speaks for every site of this machine, and never leaves it.
    let site = !origin.secured && state.site_token.admits(shown);
    let admitted = match path {
        api::paths::LINK => site,
        _ if is_for_sites(path) => user || site,
        _ => user,
    };
    if admitted {
        origin.is_known();
    }
    match admitted {
        true => Ok(site.then_some(Speaker::Local)),
        false if user && origin.secured => {
            Err(forbidden("sites show their certificates: join with `cloudskin join`".into()))
        }
        false if user => Err(forbidden("agents of sites show the token in `site-token`".into())),
        false if site => Err(forbidden("a site's token opens only the site link and blobs".into())),
        false => {
            let message = "the token is not this control plane's: read `token` in its data folder";
            Err(Refusal::new(ErrorKind::Unauthenticated, message))
        }
    }
}

/// Sites fetch modules, bring snapshots and say whose buckets are; nothing else of REST is theirs.
fn is_for_sites(path: &str) -> bool {
    path == api::paths::LINK
        || path.starts_with("/apis/v1/blobs/")
        || path.starts_with(api::paths::HOMES)
}

/// The site whose certificate was shown, if it is still the site's.
fn certified(state: &State, origin: &Origin) -> Result<Option<Speaker>, Refusal> {
    let Some(caller) = &origin.caller else { return Ok(None) };
    match &caller.party {
        Party::Site(site) if state.registry.admits(site, &caller.certificate) => {
            Ok(Some(Speaker::Certified(site.clone())))
        }
        party => {
            let message = format!(
                "the certificate of {party} is void: it joined again or was deleted; make a token with `cloudskin token create` and join"
            );
            Err(Refusal::new(ErrorKind::Unauthenticated, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hosts_are_admitted_and_foreign_ones_are_not() {
        let mut config = Config::new("/nowhere".into(), ([10, 1, 2, 3], 80).into());
        config.hosts.push("Control.Example".into());
        let hosts = Hosts::new(&config, ([10, 1, 2, 3], 80).into());

        for own in ["127.0.0.1:1", "127.8.9.1", "[::1]:80", "localhost:9", "LOCALHOST", "10.1.2.3"]
        {
            assert!(hosts.admit(own), "{own}");
        }
        assert!(hosts.admit("control.example:7"));
        for foreign in ["", "evil.example", "localhost.evil.example", "10.1.2.4", "127.0.0.1.evil"]
        {
            assert!(!hosts.admit(foreign), "{foreign}");
        }
    }
}
