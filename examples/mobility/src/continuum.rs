//! A continuum of the demo's own, beside whatever else runs on the machine.

use crate::{Error, Result};
use api::{Kind, service::ServiceStatus};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use orchestrator::{
    camera,
    client::{
        Client, manifest,
        wait::{self, Condition},
    },
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use types::{Period, Token};

/// Where a control plane listens.
const CONTROL_PORT: u16 = 8470;

/// How long a service may take to answer: a module is compiled once.
const READY_LIMIT: Period = Period::from_millis(60_000);

/// How long one plain request may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// The end of what a program wrote that an error shows.
const SAID_MAX_CHARS: usize = 600;

/// A control plane and two sites that run for the demo; they end when this is dropped.
pub(crate) struct Continuum {
    /// As the tenant `default` sees it.
    pub(crate) view: View,
    url: String,
    token: Token,
    programs: Programs,
    is_down: bool,
}

/// A continuum as one of its tenants sees it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) client: Client,
    pub(crate) dns: SocketAddr,
    zone: String,
    port: u16,
    sites: BTreeMap<String, IpAddr>,
}

/// The binary with folders of the demo's own, so that it touches none of the user's contexts.
#[derive(Debug, Clone)]
struct Programs {
    cloudskin: PathBuf,
    work: PathBuf,
}

impl Continuum {
    /// Starts it with a cloud and an edge; one that an earlier demo left behind is ended first.
    pub(crate) async fn up(cloudskin: &Path, work: &Path) -> Result<Self> {
        Self::up_with(cloudskin, work, &["cloud", "edge"]).await
    }

    /// Starts it with these sites.
    pub(crate) async fn up_with(cloudskin: &Path, work: &Path, sites: &[&str]) -> Result<Self> {
        fs::create_dir_all(work).map_err(Error::file("make", work))?;
        let work = fs::canonicalize(work).map_err(Error::file("find", work))?;
        let programs = Programs { cloudskin: cloudskin.to_owned(), work };
        let data = programs.data();
        programs.run(&["down", "--purge", "--data-dir", &data]).await?;
        let network = free_network(std::process::id().to_le_bytes()[0])?;
        let network = network.to_string();
        let names = sites.join(",");
        let whose = ["--data-dir", &data, "--loopback", &network, "--sites", &names];
        let up = [&["up", "-d", "-o", "json"], &whose[..]].concat();
        // From here on something runs that must be ended, whatever fails.
        let mut guard = Guard(Some(programs.clone()));
        let state: Value =
            serde_json::from_str(&programs.run(&up).await?).map_err(|_| Error::Foreign("state"))?;
        let url = state["url"].as_str().ok_or(Error::Foreign("address"))?;
        let token = Token::load(&Path::new(&data).join("control/token"))?;
        let client = Client::new(url, Some(token.clone()), "default")?;
        let status = client.status().await?;
        let (dns, zone, port) = place(&status).ok_or(Error::Foreign("name server"))?;
        let sites = addresses(&status);
        guard.0 = None;
        let view = View { client, dns, zone, port, sites };
        Ok(Self { view, url: url.to_owned(), token, programs, is_down: false })
    }

    /// As another tenant sees it.
    pub(crate) fn tenant(&self, tenant: &str) -> Result<View> {
        let client = Client::new(&self.url, Some(self.token.clone()), tenant)?;
        Ok(View { client, ..self.view.clone() })
    }

    /// The folder with all of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.programs.data().into()
    }

    /// Runs the binary, and answers what it wrote.
    pub(crate) async fn cloudskin(&self, args: &[&str]) -> Result<String> {
        self.programs.run(args).await
    }

    /// `cloudskin why`, as a user sees it.
    pub(crate) async fn why(&self, service: &str) -> Result<String> {
        let target = format!("service/{service}");
        self.programs.run(&["why", &target, "--last", "20"]).await
    }

    /// Ends it and removes its data.
    pub(crate) async fn down(mut self) -> Result<()> {
        let data = self.programs.data();
        self.programs.run(&["down", "--purge", "--data-dir", &data]).await?;
        self.is_down = true;
        Ok(())
    }
}

impl View {
    /// Makes every document of a file so.
    pub(crate) async fn apply_all(&self, path: &Path) -> Result<()> {
        for mut manifest in manifest::read(path, self.client.tenant())? {
            for module in manifest.link_modules()? {
                self.client.upload(module.bytes).await?;
            }
            self.client.apply(&manifest.resource, false).await?;
        }
        Ok(())
    }

    /// Makes every policy of a file so; a dry one decides, and moves nothing.
    pub(crate) async fn apply_policies(&self, path: &Path, dry: bool) -> Result<()> {
        for mut manifest in manifest::read(path, self.client.tenant())? {
            manifest.resource.spec["dryRun"] = dry.into();
            self.client.apply(&manifest.resource, false).await?;
        }
        Ok(())
    }

    /// Waits until a service answers.
    pub(crate) async fn ready(&self, service: &str) -> Result<()> {
        let ready = Condition::Ready;
        wait::wait(&self.client, Kind::Service, service, ready, READY_LIMIT, |_| {}).await?;
        Ok(())
    }

    /// Makes the manifest's service so under a name, and waits until it answers.
    pub(crate) async fn apply(&self, path: &Path, name: &str) -> Result<()> {
        for mut manifest in manifest::read(path, self.client.tenant())? {
            for module in manifest.link_modules()? {
                self.client.upload(module.bytes).await?;
            }
            name.clone_into(&mut manifest.resource.metadata.name);
            self.client.apply(&manifest.resource, false).await?;
        }
        self.ready(name).await
    }

    /// The address of the site that a service is at.
    pub(crate) async fn home(&self, service: &str) -> Result<(String, IpAddr)> {
        let status: ServiceStatus = self.client.get(Kind::Service, service).await?.status();
        let site = status.site.ok_or(Error::Foreign("service's site"))?;
        let address = self.address(&site)?;
        Ok((site, address))
    }

    pub(crate) fn address(&self, site: &str) -> Result<IpAddr> {
        self.sites.get(site).copied().ok_or(Error::Foreign("sites"))
    }

    /// The site that has an address, or the address when none has.
    pub(crate) fn site(&self, address: IpAddr) -> String {
        let found = self.sites.iter().find(|(_, at)| **at == address);
        found.map_or_else(|| address.to_string(), |(name, _)| name.clone())
    }

    /// A service's name in DNS.
    pub(crate) fn name(&self, service: &str) -> String {
        format!("{service}.{}.svc.{}.", self.client.tenant(), self.zone)
    }

    fn host(&self, service: &str) -> String {
        format!("{service}.{}.localhost", self.client.tenant())
    }

    /// A camera on a service.
    pub(crate) fn camera(&self, input: &Path, service: &str) -> camera::Options {
        let (name, host) = (self.name(service), self.host(service));
        camera::Options::new(&input.to_string_lossy(), &name, self.dns, self.port, &host)
    }

    /// What a service's cell says when it is asked for its totals where it is now.
    pub(crate) async fn totals(&self, service: &str) -> Result<Value> {
        let address = SocketAddr::new(self.home(service).await?.1, self.port);
        let asking = timeout(ASK_LIMIT, get(address, self.host(service)));
        let body =
            asking.await.map_err(|_| Error::Counter("no answer within 10 s".to_owned()))??;
        serde_json::from_slice(&body)
            .map_err(|_| Error::Counter(String::from_utf8_lossy(&body).into_owned()))
    }
}

impl Drop for Continuum {
    fn drop(&mut self) {
        if !self.is_down {
            self.programs.end();
        }
    }
}

/// Ends what `up` has started unless it is taken over.
struct Guard(Option<Programs>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(programs) = &self.0 {
            programs.end();
        }
    }
}

impl Programs {
    fn data(&self) -> String {
        self.work.join("data").to_string_lossy().into_owned()
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.cloudskin);
        command.args(args).stdin(Stdio::null());
        command.env("XDG_CONFIG_HOME", self.work.join("config"));
        command.env("XDG_STATE_HOME", self.work.join("state"));
        for name in ["URL", "TOKEN", "CONTEXT", "TENANT"] {
            command.env_remove(format!("CLOUDSKIN_{name}"));
        }
        command
    }

    async fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.command(args));
        let output = command.kill_on_drop(true).output().await;
        let output =
            output.map_err(|source| Error::Program { program: self.cloudskin.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let skipped = said.chars().count().saturating_sub(SAID_MAX_CHARS);
        let said = said.chars().skip(skipped).collect::<String>().trim().to_owned();
        Err(Error::Failed { command: format!("cloudskin {}", args.join(" ")), said })
    }

    /// Ends everything but keeps the data: its logs say what went wrong.
    fn end(&self) {
        let data = self.data();
        let _ = self.command(&["down", "--data-dir", &data]).output();
    }
}

/// A loopback network on which no control plane listens.
fn free_network(first: u8) -> Result<Ipv4Addr> {
    for offset in 0..=u8::MAX {
        let third = first.wrapping_add(offset);
        let control = (Ipv4Addr::new(127, 80, third, 1), CONTROL_PORT);
        match TcpListener::bind(control) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            _ => return Ok(Ipv4Addr::new(127, 80, third, 0)),
        }
    }
    Err(Error::NoNetwork)
}

fn place(status: &Value) -> Option<(SocketAddr, String, u16)> {
    let dns = status["dns"]["address"].as_str()?.parse().ok()?;
    let zone = status["dns"]["zone"].as_str()?.trim_end_matches('.').to_owned();
    let port = status["sites"].as_array()?.first()?["ingressPort"].as_u64()?;
    Some((dns, zone, u16::try_from(port).ok()?))
}

fn addresses(status: &Value) -> BTreeMap<String, IpAddr> {
    let listed = status["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
    let site = |site: &Value| {
        Some((site["name"].as_str()?.to_owned(), site["address"].as_str()?.parse().ok()?))
    };
    listed.iter().filter_map(site).collect()
}

/// One `GET /` over a connection of its own.
async fn get(address: SocketAddr, host: String) -> Result<Bytes> {
    let failed = |error: &dyn std::error::Error| Error::Counter(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(|error: io::Error| failed(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = Request::get("/")
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), 1 << 20).collect().await;
    let body = body.map_err(|error| Error::Counter(error.to_string()))?.to_bytes();
    match status.is_success() {
        true => Ok(body),
        false => Err(Error::Counter(format!("{status}: {}", String::from_utf8_lossy(&body)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_control_plane_says_where_everything_is() {
        let status = json!({
            "dns": {"zone": "cloudskin.internal.", "address": "127.80.0.1:8053"},
            "sites": [
                {"name": "cloud", "address": "127.80.0.11", "ingressPort": 8080},
                {"name": "odd"},
            ],
        });

        let (dns, zone, port) = place(&status).unwrap();

        assert_eq!((dns.port(), zone.as_str(), port), (8053, "cloudskin.internal", 8080));
        assert_eq!(addresses(&status).len(), 1);
        for odd in [json!(null), json!({"dns": {}}), json!({"dns": 1, "sites": [1]})] {
            assert!(place(&odd).is_none() && addresses(&odd).is_empty(), "{odd}");
        }
    }

    #[test]
    fn a_taken_network_is_passed_over() {
        let network = free_network(200).unwrap();
        let [a, b, c, _] = network.octets();
        let _taken = TcpListener::bind((Ipv4Addr::new(a, b, c, 1), CONTROL_PORT)).unwrap();

        assert_ne!(free_network(c).unwrap(), network);
    }
}
