//! Which processes run where: addresses, labels and command lines.

use super::{
    DataFolder, Error, Result,
    ports::{Listener, Transport},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};
use types::{Bytes, check_name};

/// REST of the control plane.
const CONTROL_PORT: u16 = 8470;
/// Between sites.
const PEER_PORT: u16 = 8471;
/// From a site's port for its peers to that of its store for theirs.
const OBJECTS_OFFSET: u16 = 100;
/// Unprivileged, and not the resolver's own.
const DNS_PORT: u16 = 8053;
/// HTTP of services, at each site and at the local ingress.
const INGRESS_PORT: u16 = 8080;

/// The last byte of the first site's address; the control plane has 1.
const FIRST_SITE: u8 = 11;
/// What still fits below the broadcast address.
const SITES_MAX: usize = 200;

/// A network of 256 loopback addresses: one continuum's own, so that several run side by side
/// with the same ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network([u8; 3]);

/// One site of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// For selection: `tier` is the name, so that `edge` and `cloud` are what they say.
    pub labels: BTreeMap<String, String>,
    /// Its own loopback address.
    pub address: Ipv4Addr,
}

/// One process to keep running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// `control`, or the site's name behind `site-`: names its files too.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to this process's environment.
    pub env: BTreeMap<String, String>,
}

/// A continuum on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where its processes listen.
    pub network: Network,
    /// Its sites.
    pub sites: Vec<Site>,
    /// Where other machines reach the control plane over TLS, if they do. The sites' listeners
    /// for their peers are at the ports behind this one.
    pub bind: Option<SocketAddr>,
    /// Most memory for the objects of one tenant at each site; the sites' own choice if it is not said.
    pub objects_memory: Option<Bytes>,
    /// Where models are: a folder, or `geds://bucket/prefix`; in the data folder if it is not said.
    pub catalog: Option<String>,
}

impl Network {
    /// Where the control plane and the local ingress listen.
    pub fn control(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Whether `http://<service>.localhost` leads here, as it leads to 127.0.0.1.
    pub fn is_default(self) -> bool {
        self == Self::default()
    }

    fn address(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, last)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self([127, 0, 0])
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address(0).fmt(f)
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse().map(|address: Ipv4Addr| address.octets()) {
            Ok([127, b, c, 0]) => Ok(Self([127, b, c])),
            _ => Err(Error::Network(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl Plan {
    /// A control plane and these sites.
    ///
    /// # Errors
    /// If a name breaks the rules, stands there twice, or there are too many or none.
    pub fn new(network: Network, names: &[String]) -> Result<Self> {
        if names.is_empty() || names.len() > SITES_MAX {
            return Err(Error::SiteCount { count: names.len(), most: SITES_MAX });
        }
        let mut seen = BTreeSet::new();
        let mut sites = Vec::new();
        for (last, name) in (FIRST_SITE..).zip(names) {
            check_name(name).map_err(|source| Error::SiteName { site: name.clone(), source })?;
            if !seen.insert(name) {
                return Err(Error::SiteTwice(name.clone()));
            }
            sites.push(Site {
                name: name.clone(),
                labels: BTreeMap::from([("tier".into(), name.clone())]),
                address: network.address(last),
            });
        }
        Ok(Self { network, sites, bind: None, objects_memory: None, catalog: None })
    }

    /// The same, with other machines let in at this address; port 8470 if it names none.
    ///
    /// # Errors
    /// If it is no single address, or there are not enough ports behind its own.
    pub fn reachable_at(mut self, address: IpAddr, port: Option<u16>) -> Result<Self> {
        let bind = SocketAddr::new(address, port.unwrap_or(CONTROL_PORT));
        let sites = u16::try_from(self.sites.len()).unwrap_or(u16::MAX);
        if address.is_unspecified() || bind.port() == 0 || bind.port().checked_add(sites).is_none()
        {
            return Err(Error::Bind(bind));
        }
        self.bind = Some(bind);
        Ok(self)
    }

    /// Where a site listens for its peers on other machines.
    fn site_bind(&self, site: &Site) -> Option<SocketAddr> {
        let index = self.sites.iter().position(|own| own.name == site.name)?;
        let bind = self.bind?;
        let offset = u16::try_from(index).ok()?.checked_add(1)?;
        Some(SocketAddr::new(bind.ip(), bind.port().checked_add(offset)?))
    }

    /// Where the control plane's REST is.
    pub fn url(&self) -> String {
        format!("http://{}:{CONTROL_PORT}", self.network.control())
    }

    /// Where our DNS answers.
    pub fn dns(&self) -> SocketAddr {
        (self.network.control(), DNS_PORT).into()
    }

    /// Where the local ingress listens.
    pub fn ingress(&self) -> SocketAddr {
        (self.network.control(), INGRESS_PORT).into()
    }

    /// The port of every site's ingress.
    pub fn site_ingress_port(&self) -> u16 {
        INGRESS_PORT
    }

    /// The control plane and the agents, as command lines of `program`.
    pub fn children(&self, program: &Path, folder: &DataFolder) -> Vec<ChildSpec> {
        let child = |name: String, args: Vec<String>| ChildSpec {
            name,
            program: program.to_owned(),
            args,
            env: BTreeMap::new(),
        };
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut control = vec![
            "control".into(),
            "--data-dir".into(),
            path(folder.control()),
            "--listen".into(),
            format!("{}:{CONTROL_PORT}", self.network.control()),
            "--dns".into(),
            self.dns().to_string(),
            "--local-ingress".into(),
            self.ingress().to_string(),
        ];
        if let Some(bind) = self.bind {
            control.extend(["--bind".into(), bind.to_string()]);
        }
        if let Some(place) = &self.catalog {
            control.extend(["--catalog".into(), place.clone()]);
        }
        let site = |site: &Site| {
            let mut args: Vec<String> = vec![
                "site".into(),
                "--name".into(),
                site.name.clone(),
                "--control".into(),
                self.bind.map_or_else(|| self.url(), |bind| format!("https://{bind}")),
                "--data-dir".into(),
                path(folder.site(&site.name)),
                "--address".into(),
                site.address.to_string(),
                "--ingress-port".into(),
                INGRESS_PORT.to_string(),
            ];
            let more: Vec<String> = match self.site_bind(site) {
                Some(bind) => vec![
                    "--identity".into(),
                    path(folder.identity(&site.name)),
                    "--bind".into(),
                    bind.to_string(),
                    "--objects-port".into(),
                    bind.port().saturating_add(OBJECTS_OFFSET).to_string(),
                ],
                None => vec![
                    "--token-file".into(),
                    path(folder.site_token_file()),
                    "--peer-port".into(),
                    PEER_PORT.to_string(),
                    "--objects-port".into(),
                    (PEER_PORT + OBJECTS_OFFSET).to_string(),
                ],
            };
            args.extend(more);
            if let Some(memory) = self.objects_memory {
                args.extend(["--objects-memory".into(), memory.to_string()]);
            }
            for (key, value) in &site.labels {
                args.extend(["--label".into(), format!("{key}={value}")]);
            }
            child(site_child(&site.name), args)
        };
        let control = child("control".into(), control);
        std::iter::once(control).chain(self.sites.iter().map(site)).collect()
    }

    /// Every listener that this plan needs, with the child that opens it.
    pub fn listeners(&self) -> Vec<Listener> {
        let listener = |child: &str, purpose: &str, address: SocketAddr, transport| Listener {
            child: child.to_owned(),
            purpose: purpose.to_owned(),
            address,
            transport,
            holder: None,
        };
        let rest = (self.network.control(), CONTROL_PORT).into();
        let mut listeners = vec![
            listener("control", "the control plane", rest, Transport::Tcp),
            listener("control", "DNS", self.dns(), Transport::Udp),
            listener("control", "DNS", self.dns(), Transport::Tcp),
            listener("supervisor", "the local ingress", self.ingress(), Transport::Tcp),
        ];
        if let Some(bind) = self.bind {
            let purpose = "the control plane for other machines";
            listeners.push(listener("control", purpose, bind, Transport::Tcp));
        }
        for site in &self.sites {
            let child = site_child(&site.name);
            let ingress = (site.address, INGRESS_PORT).into();
            let peers = self.site_bind(site).unwrap_or_else(|| (site.address, PEER_PORT).into());
            let name = &site.name;
            listeners.extend([
                listener(&child, &format!("the ingress of site {name}"), ingress, Transport::Tcp),
                listener(&child, &format!("the peers of site {name}"), peers, Transport::Tcp),
            ]);
        }
        listeners
    }
}

/// A site's child; no site can take the control plane's name.
fn site_child(site: &str) -> String {
    format!("site-{site}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_site_has_its_own_address_and_tier() {
        let plan = Plan::new("127.77.3.0".parse().unwrap(), &names(&["cloud", "edge"])).unwrap();

        assert_eq!(plan.url(), "http://127.77.3.1:8470");
        assert_eq!(plan.sites[1].address, Ipv4Addr::new(127, 77, 3, 12));
        assert_eq!(plan.sites[1].labels["tier"], "edge");
        let addresses: BTreeSet<_> = plan
            .listeners()
            .into_iter()
            .map(|listener| (listener.address, listener.transport == Transport::Udp))
            .collect();
        assert_eq!(addresses.len(), plan.listeners().len());
    }

    #[test]
    fn children_are_told_everything_on_their_command_line() {
        let plan = Plan::new(Network::default(), &names(&["control", "edge"])).unwrap();
        let folder = DataFolder::at(Path::new("/data")).unwrap();

        let children = plan.children(Path::new("/bin/cloudskin"), &folder);

        let names: Vec<_> = children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, ["control", "site-control", "site-edge"]);
        let edge = children[2].args.join(" ");
        assert!(edge.starts_with("site --name edge --control http://127.0.0.1:8470 "), "{edge}");
        assert!(edge.contains("--data-dir /data/sites/edge --address 127.0.0.12"), "{edge}");
        assert!(edge.ends_with("--label tier=edge"), "{edge}");
    }

    #[test]
    fn what_is_bound_wider_has_ports_of_its_own_and_certificates() {
        let plan = Plan::new(Network::default(), &names(&["cloud", "edge"])).unwrap();
        let wide = plan.clone().reachable_at([10, 0, 0, 1].into(), None).unwrap();
        let folder = DataFolder::at(Path::new("/data")).unwrap();

        let children = wide.children(Path::new("/bin/cloudskin"), &folder);

        assert!(children[0].args.join(" ").ends_with("--bind 10.0.0.1:8470"));
        let edge = children[2].args.join(" ");
        assert!(edge.contains("--control https://10.0.0.1:8470 "), "{edge}");
        assert!(
            edge.contains("--identity /data/sites/edge/identity.json --bind 10.0.0.1:8472"),
            "{edge}"
        );
        assert!(!edge.contains("token"), "{edge}");
        assert_eq!(wide.url(), plan.url(), "this machine's own users come by loopback");
        for (address, port) in [([0, 0, 0, 0], None), ([10, 0, 0, 1], Some(65_534))] {
            assert!(plan.clone().reachable_at(address.into(), port).is_err());
        }
    }

    #[test]
    fn wrong_networks_and_sites_are_refused() {
        for wrong in ["", "127.0.0.1", "10.0.0.0", "127.0.0", "::1", "localhost"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        for wrong in [&[][..], &["a", "a"], &["../a"], &["A"], &[""]] {
            assert!(Plan::new(Network::default(), &names(wrong)).is_err(), "{wrong:?}");
        }
        let many: Vec<_> = (0..201).map(|number| format!("s{number}")).collect();
        assert!(Plan::new(Network::default(), &many).is_err());
        assert!(Plan::new(Network::default(), &many[..200]).is_ok());
    }
}
