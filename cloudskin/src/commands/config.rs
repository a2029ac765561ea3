//! `cloudskin config`: contexts.

use crate::{
    exit::Failure,
    output::{self, FormatArgs, Style},
    session::Session,
    table::Table,
};
use clap::{Args, Subcommand};
use orchestrator::client::{Client, Context, Contexts};
use std::{path::PathBuf, process::ExitCode};
use types::ErrorKind;

/// See and choose which control plane commands ask
///
/// Contexts are kept in `cloudskin/contexts.toml` in the XDG config folder. `cloudskin up` writes
/// the context `local`. Options and environment variables outrank the current context.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin config get-contexts
  cloudskin config use-context local
  cloudskin config set-context lab --address https://10.0.0.5:8470 --ca-file ~/lab.ca.pem \\
      --token-file ~/lab.token")]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all contexts
    #[command(
        visible_alias = "list",
        after_help = "Example:\n  cloudskin config get-contexts -o json"
    )]
    GetContexts {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Print the current context's name
    #[command(after_help = "Example:\n  cloudskin config current-context")]
    CurrentContext,
    /// Make a context the current one
    #[command(visible_alias = "use", after_help = "Example:\n  cloudskin config use-context lab")]
    UseContext {
        /// Which
        name: String,
    },
    /// Add a context, or change it
    #[command(after_help = "\
Example:
  cloudskin config set-context lab --address https://10.0.0.5:8470 --ca-file ~/lab.ca.pem \\
      --token-file ~/lab.token")]
    SetContext {
        /// How it is called
        name: String,
        /// The control plane
        #[arg(long, value_name = "URL")]
        address: String,
        /// The file that holds the token; only its owner may read it
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The certificate of the control plane's authority, `ca.pem`, for https://
        #[arg(long = "ca-file", value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// Whose resources are meant
        #[arg(long = "default-tenant", value_name = "TENANT")]
        default_tenant: Option<String>,
    },
    /// Forget a context
    #[command(after_help = "Example:\n  cloudskin config delete-context lab")]
    DeleteContext {
        /// Which
        name: String,
    },
}

pub(crate) fn run(args: Config) -> anyhow::Result<ExitCode> {
    let path = Session::contexts_path()?;
    let mut contexts = Contexts::load(&path)?;
    match args.action {
        Action::GetContexts { format } => {
            format.print(&contexts, &text(&contexts))?;
        }
        Action::CurrentContext => match &contexts.current {
            Some(name) => output::print(&format!("{name}\n"))?,
            None => {
                let message = "no context is current: `cloudskin up` makes one";
                return Err(Failure::error(ErrorKind::NotFound, message));
            }
        },
        Action::UseContext { name } => {
            contexts.use_context(&name)?;
            contexts.save(&path)?;
            output::print(&format!("commands now ask {}\n", contexts.contexts[&name].url))?;
        }
        Action::SetContext { name, address, token_file, ca_file, default_tenant } => {
            let tenant = default_tenant.as_deref().unwrap_or(api::DEFAULT_TENANT);
            let ca = ca_file.map(std::path::absolute).transpose()?;
            Client::secured(&address, None, tenant, ca.as_deref())?;
            let token_file = token_file.map(std::path::absolute).transpose()?;
            let context = Context { url: address, ca, token_file, tenant: default_tenant };
            contexts.set(&name, context);
            contexts.save(&path)?;
            output::print(&format!("context {name} written\n"))?;
        }
        Action::DeleteContext { name } => {
            contexts.delete(&name)?;
            contexts.save(&path)?;
            output::print(&format!("context {name} forgotten\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(contexts: &Contexts) -> String {
    if contexts.contexts.is_empty() {
        return "there are no contexts: `cloudskin up` makes one\n".into();
    }
    let mut table = Table::new(&["CURRENT", "NAME", "URL", "TENANT", "TOKEN FILE"]);
    for (name, context) in &contexts.contexts {
        let is_current = contexts.current.as_ref() == Some(name);
        let file = context.token_file.as_ref().map(|file| file.display().to_string());
        table.row(vec![
            if is_current { "*" } else { " " }.to_owned(),
            name.clone(),
            context.url.clone(),
            context.tenant.clone().unwrap_or_else(|| api::DEFAULT_TENANT.to_owned()),
            file.unwrap_or_default(),
        ]);
    }
    table.render(Style::for_stdout())
}
