//! `cloudskin join`: this machine becomes a site of a control plane on another one.

use super::{
    place::Place,
    services::{Agent, CpuSetArgs, ObjectArgs, PEER_PORT, default_absence, labels_of, run_site},
};
use crate::{exit::Failure, output};
use anyhow::Context;
use clap::Args;
use orchestrator::{
    site::Trust,
    supervisor::DataFolder,
    trust::{Identity, JoinToken},
};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use types::{Bytes, Cpu, ErrorKind};

/// Make this machine a site of a control plane on another machine, and run the site
///
/// The first time with a token, which `cloudskin token create` makes there: this machine makes a
/// key, checks that the control plane is the one that made the token, and gets a certificate.
/// Afterwards without one, in the foreground, until SIGTERM or SIGINT; SIGHUP leaves the services
/// running for the next start. The certificate is renewed by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin join https://10.0.0.1:8470 TOKEN --name edge2
  cloudskin join https://10.0.0.1:8470 --name edge2                after a reboot
  cloudskin join https://10.0.0.1:8470 --name edge2 --bind 10.0.0.2 --ingress 10.0.0.2:8080")]
pub(crate) struct Join {
    /// The control plane, as `cloudskin token create` prints it
    #[arg(value_name = "URL")]
    control: String,
    /// The token, the first time
    #[arg(env = "CLOUDSKIN_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    join_token: Option<String>,
    /// The site's name
    #[arg(long)]
    name: String,
    /// Where other sites reach this one over mutual TLS [default: the address from which the
    /// control plane is reached, port 8471]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<Place>,
    /// Where services answer, and what DNS says of them. It has no token: who reaches it uses the
    /// services
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    ingress: Place,
    /// All that the site remembers [default: cloudskin-sites/NAME in the XDG state folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A label that services can select
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Processor time that the site offers; all there is if not given
    #[arg(long, value_name = "CPUS")]
    cpu: Option<Cpu>,
    /// Memory that the site offers; all there is if not given
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    #[command(flatten)]
    objects: ObjectArgs,
    #[command(flatten)]
    cpu_sets: CpuSetArgs,
}

pub(crate) async fn run(args: Join) -> anyhow::Result<ExitCode> {
    types::check_name(&args.name)
        .map_err(|error| Failure::error(ErrorKind::Invalid, format!("--name: {error}")))?;
    let data_dir = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => DataFolder::default_root()?.with_file_name("cloudskin-sites").join(&args.name),
    };
    let identity = identity(&args, &data_dir.join("identity.json")).await?;
    let bind = match args.bind {
        Some(bind) => bind.or_port(PEER_PORT),
        None => SocketAddr::new(address_towards(&args.control)?, PEER_PORT),
    };
    let ingress = args.ingress.or_port(8080);
    output::complain(&format!(
        "site {} of {}: other sites reach it at {bind}, services answer at {ingress}",
        args.name, args.control
    ));
    run_site(Agent {
        name: args.name,
        control: args.control,
        trust: Trust::Certificates { identity: Arc::new(identity), bind },
        data_dir,
        address: ingress.ip(),
        ingress_port: ingress.port(),
        peer_port: bind.port(),
        labels: labels_of(&args.labels),
        cpu: args.cpu,
        memory: args.memory,
        cpu_sets: args.cpu_sets.read()?,
        objects: args.objects,
        workers_exit_without_agent_after: default_absence(),
    })
    .await
}

/// Joins with the token, or takes up what an earlier start got.
async fn identity(args: &Join, path: &Path) -> anyhow::Result<Identity> {
    let token = args.join_token.as_ref().filter(|token| !token.is_empty());
    let has_joined = path.exists();
    let Some(token) = token else {
        if !has_joined {
            let text = format!(
                "this machine has not joined as `{0}` yet: give the token that `cloudskin token create --site {0}` prints",
                args.name
            );
            return Err(Failure::error(ErrorKind::Unauthenticated, text));
        }
        return Ok(Identity::load(path)?);
    };
    let token: JoinToken = token.parse()?;
    let joined = token.join(&args.control, &args.name, path).await;
    if joined.is_err() && has_joined {
        output::complain("this machine joined before: leave the token out to go on as that site");
    }
    Ok(joined?)
}

/// This machine's address on the way to the control plane.
fn address_towards(url: &str) -> anyhow::Result<IpAddr> {
    let authority = url.trim_start_matches("https://").trim_end_matches('/');
    let find = || -> std::io::Result<IpAddr> {
        let any = if authority.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        // Nothing is sent: the system only chooses the way.
        let socket = UdpSocket::bind(any)?;
        socket.connect(authority)?;
        Ok(socket.local_addr()?.ip())
    };
    find().with_context(|| format!("no way leads to `{authority}`: give --bind ADDRESS"))
}
