//! A continuum of its own: a control plane and sites, as `cloudskin up` starts them.

use crate::Context;
use anyhow::Context as _;
use orchestrator::supervisor::DataFolder;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use types::Token;

/// The only site's name, or the first one's.
const SITE: &str = "edge";

/// A control plane and sites; ended on drop.
#[derive(Debug)]
pub(crate) struct Continuum {
    program: PathBuf,
    folder: PathBuf,
    url: String,
    token: Token,
    /// The process of the site's agent.
    pub(crate) agent_pid: u32,
    /// The site's ingress.
    pub(crate) ingress: SocketAddr,
}

impl Continuum {
    /// Starts it, with these variables, and waits until it is ready.
    pub(crate) fn start(context: &Context, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_sites(context, &[SITE], variables)
    }

    /// The same with several sites, the first of which is the edge.
    pub(crate) fn start_sites(
        context: &Context,
        sites: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (program, folder) = (context.cloudskin()?.to_owned(), context.folder("continuum")?);
        // Nobody else is likely to be there; `up` says so if somebody is.
        let network = format!("127.99.{}.0", 1 + std::process::id() % 250);
        let data = folder.join("data");
        let up = Command::new(&program)
            .args(["up", "-d", "--sites", &sites.join(","), "--loopback", &network, "--data-dir"])
            .arg(&data)
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(up.success(), "`cloudskin up` failed: {up}");
        let known = DataFolder::at(&data)?;
        let state = known.state()?.context("`cloudskin up` left no state")?;
        let agent = state.children.iter().find(|child| child.name.contains(SITE));
        let agent_pid = agent.and_then(|agent| agent.pid).context("the agent does not run")?;
        let [a, b, c, _] = network.parse::<Ipv4Addr>().map_or([127, 0, 0, 0], |at| at.octets());
        Ok(Self {
            program,
            folder: data,
            url: state.url.clone(),
            token: Token::load(&known.token_file())?,
            agent_pid: agent_pid.unsigned_abs(),
            ingress: SocketAddr::from(([a, b, c, 11], 8080)),
        })
    }

    /// Applies services of this module and waits until they are ready.
    pub(crate) fn apply(&self, module: &Path, names: &[String]) -> anyhow::Result<()> {
        self.apply_with(module, names, "{cpu: 5m, memory: 4Mi}")
    }

    /// The same, with these resources each.
    pub(crate) fn apply_with(
        &self,
        module: &Path,
        names: &[String],
        resources: &str,
    ) -> anyhow::Result<()> {
        let documents: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    "apiVersion: cloudskin.eu/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\n\
                     spec:\n  module: {}\n  placement: {{site: {SITE}}}\n  \
                     resources: {resources}\n  checkpointEvery: 1h\n",
                    module.display()
                )
            })
            .collect();
        let file = self.folder.with_file_name("services.yaml");
        std::fs::write(&file, documents.join("---\n"))?;
        self.cloudskin(&["apply", "-f", &file.to_string_lossy()])?;
        for name in names {
            self.cloudskin(&["wait", "--for", "ready", &format!("service/{name}")])?;
        }
        Ok(())
    }

    /// Where the control plane's REST is.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let authority = self.url.trim_start_matches("http://").trim_end_matches('/');
        authority.parse().with_context(|| format!("`{}` is no address", self.url))
    }

    /// What users show there.
    pub(crate) fn token(&self) -> &str {
        self.token.reveal()
    }

    /// Where the first site keeps all that is its own.
    pub(crate) fn site_folder(&self) -> PathBuf {
        self.folder.join("sites").join(SITE)
    }

    /// Runs a command, which must succeed.
    pub(crate) fn cloudskin(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.ask(arguments).map(drop)
    }

    /// What a command says.
    pub(crate) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let run = self.command(arguments).output()?;
        let complained = String::from_utf8_lossy(&run.stderr);
        anyhow::ensure!(run.status.success(), "`cloudskin {}`: {complained}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&run.stdout).into_owned())
    }

    /// Begins a command whose output is read later.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        Ok(self.command(arguments).stdout(Stdio::piped()).spawn()?)
    }

    /// A command of `cloudskin` that speaks to this continuum.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("CLOUDSKIN_URL", &self.url)
            .env("CLOUDSKIN_TOKEN", self.token.reveal());
        command
    }
}

impl Drop for Continuum {
    fn drop(&mut self) {
        let down = Command::new(&self.program)
            .args(["down", "--data-dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .status();
        if !down.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("`cloudskin down` of `{}` failed: {down:?}", self.folder.display());
        }
    }
}
