//! Serves S3 from a store of this process: to try clients, and for tests with real ones.
//!
//! `serve <folder> [<address>]`, with the keys `lab` / `lab-secret` of tenant `lab` and `field` /
//! `field-secret` of tenant `field`. It prints the address that it listens on, and ends with its
//! standard input.

use s3::{Config, Endpoint, Key};
use std::{env, error::Error, io::Write as _};
use tokio::net::TcpListener;

const TENANTS: [&str; 2] = ["lab", "field"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("a folder is missing: serve <folder> [<address>]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());

    let mut stores = Vec::new();
    for tenant in TENANTS {
        let folder = std::path::Path::new(&folder).join(tenant);
        let config = geds::Config::alone(folder).tenant(tenant);
        stores.push((tenant.to_owned(), geds::Geds::open(config)?));
    }
    let key = |tenant: &str| Key {
        access_key: tenant.to_owned(),
        secret: format!("{tenant}-secret"),
        tenant: tenant.to_owned(),
    };
    let config = Config { keys: TENANTS.map(key).into(), ..Config::default() };
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    Endpoint::new(config, stores)?.run(listener, end_of_input()).await?;
    Ok(())
}

/// Reads standard input to its end, on a thread that may block.
async fn end_of_input() {
    let read =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    // Whatever ends it, it is the end.
    let _ = read.await;
}
