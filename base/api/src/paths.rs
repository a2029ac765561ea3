//! Where things are found in REST.

use crate::Kind;
use types::Digest;

/// All resources of a kind.
pub fn list(tenant: &str, kind: Kind) -> String {
    format!("/apis/v1/tenants/{tenant}/{}", kind.path())
}

/// One resource.
pub fn item(tenant: &str, kind: Kind, name: &str) -> String {
    format!("{}/{name}", list(tenant, kind))
}

/// A verb on one resource: `migrate`, `logs`, `snapshot`, `restore`.
pub fn verb(tenant: &str, kind: Kind, name: &str, verb: &str) -> String {
    format!("{}/{verb}", item(tenant, kind, name))
}

/// Where it is asked how a service will behave at a place: [`crate::advice::Predict`].
pub fn predict(tenant: &str) -> String {
    format!("/apis/v1/tenants/{tenant}/advice/predict")
}

/// Where it is asked which place is best for a service: [`crate::advice::Rank`].
pub fn rank(tenant: &str) -> String {
    format!("/apis/v1/tenants/{tenant}/advice/rank")
}

/// Content by its digest: modules and snapshots.
pub fn blob(digest: &Digest) -> String {
    format!("/apis/v1/blobs/{digest}")
}

/// Which site is the home of a bucket of the ephemeral store: `GET`, `PUT` by who wants to be it, `DELETE` by who is.
pub fn home(tenant: &str, bucket: &str) -> String {
    format!("{HOMES}{tenant}/{bucket}")
}

/// What those begin with.
pub const HOMES: &str = "/apis/v1/homes/";

/// Where a site's agent connects.
pub const LINK: &str = "/apis/v1/link";

/// Where a machine joins as a site.
pub const JOIN: &str = "/apis/v1/join";

/// Where tokens for that are made.
pub const JOIN_TOKENS: &str = "/apis/v1/join-tokens";

/// Where a site gets its next certificate.
pub const RENEW: &str = "/apis/v1/renew";

/// Where the policies of a service are asked to decide now: `{"service": NAME}`.
pub const ANALYZE_QOS: &str = "/analyze_qos";

/// Below it is Prometheus' HTTP API over what the control plane and its sites measure.
pub const PROMETHEUS: &str = "/prometheus";

/// What this control plane is: version, addresses, sites.
pub const STATUS: &str = "/apis/v1/status";
