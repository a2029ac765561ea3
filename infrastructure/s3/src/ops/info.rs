//! A request as the operations see it: what s3s has read, and what it would read less precisely.

use crate::{
    conditions::{Conditions, ETags},
    config::Config,
    fault::{Fault, fail},
    payload::Body,
    serve::Reply,
    sign::Query,
    store::Tenant,
};
use geds::Geds;
use http::{HeaderMap, StatusCode};
use s3s::{S3Request, S3Response, S3Result};
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Most entries of a page of any list.
const PAGE_MAX: u32 = 1000;

/// A verified request.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) config: Arc<Config>,
    pub(crate) tenant: Arc<Tenant>,
    /// All headers as they came.
    pub(crate) headers: HeaderMap,
    /// The query as it came.
    pub(crate) query: Query,
    /// Empty if the request names none.
    pub(crate) bucket: String,
    /// Empty if the request names none.
    pub(crate) key: String,
    /// The body of an object or a part.
    pub(crate) body: Mutex<Option<Body>>,
    /// Which operation it is, once that is known.
    pub(crate) operation: Operation,
}

/// The name of an operation, once it is known.
pub(crate) type Operation = Arc<OnceLock<&'static str>>;

impl Info {
    /// What was attached to a request.
    pub(super) fn of<T>(request: &S3Request<T>) -> S3Result<Arc<Self>> {
        request.extensions.get::<Arc<Self>>().cloned().ok_or_else(|| Fault::InternalError.into())
    }

    pub(super) fn geds(&self) -> &Geds {
        &self.tenant.geds
    }

    /// A header's text; none if it is absent or no text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        std::str::from_utf8(value.as_bytes()).ok().map(str::trim)
    }

    /// The body, which is there for one taker.
    pub(super) fn take_body(&self) -> S3Result<Body> {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        body.ok_or_else(|| Fault::InternalError.into())
    }

    /// Fails if the bucket is not there.
    pub(super) fn check_bucket(&self) -> S3Result<()> {
        self.tenant.check_bucket(&self.bucket)
    }

    /// The only version that an object has here.
    pub(super) fn check_version(&self) -> S3Result<()> {
        match self.query.get("versionId") {
            None | Some("null" | "") => Ok(()),
            Some(_) => Err(Fault::InvalidArgument.because("Invalid version id specified")),
        }
    }

    /// The size of a page that the query asks for.
    pub(super) fn page_size(&self, name: &str) -> S3Result<u32> {
        let Some(text) = self.query.get(name).filter(|text| !text.is_empty()) else {
            return Ok(PAGE_MAX);
        };
        match text.parse::<i64>() {
            Ok(size) if (0..=i64::from(i32::MAX)).contains(&size) => {
                Ok(u32::try_from(size).unwrap_or(PAGE_MAX).min(PAGE_MAX))
            }
            Ok(_) => Err(Fault::InvalidArgument
                .because(format!("Argument {name} must be an integer between 0 and 2147483647"))),
            Err(_) => Err(Fault::InvalidArgument
                .because(format!("Provided {name} not an integer or within integer range"))),
        }
    }

    /// A part number of the query.
    pub(super) fn part_number(&self) -> S3Result<Option<u32>> {
        let Some(text) = self.query.get("partNumber") else { return Ok(None) };
        match text.parse() {
            Ok(number @ 1..=10_000) => Ok(Some(number)),
            _ => Err(Fault::InvalidArgument
                .because("Part number must be an integer between 1 and 10000, inclusive")),
        }
    }

    /// Whether names are to be escaped in lists.
    pub(super) fn encodes_urls(&self) -> S3Result<bool> {
        match self.query.get("encoding-type") {
            None | Some("") => Ok(false),
            Some(name) if name.eq_ignore_ascii_case("url") => Ok(true),
            Some(_) => {
                Err(Fault::InvalidArgument.because("Invalid Encoding Method specified in Request"))
            }
        }
    }

    /// The conditions on an object, from headers whose names begin so.
    pub(super) fn conditions(&self, prefix: &str) -> Conditions {
        let text = |name: &str| self.header(&format!("{prefix}{name}"));
        // What is no date is passed by, as RFC 9110 asks.
        let date = |name: &str| {
            let time = httpdate::parse_http_date(text(name)?).ok()?;
            time.duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs())
        };
        Conditions {
            if_match: text("if-match").map(ETags::parse),
            if_none_match: text("if-none-match").map(ETags::parse),
            if_modified_since: date("if-modified-since"),
            if_unmodified_since: date("if-unmodified-since"),
        }
    }

    /// Refuses access lists, which are disabled as they are for every new bucket of S3.
    pub(super) fn check_acl(&self) -> S3Result<()> {
        let is_harmless = |name: &str| {
            matches!(name, "private" | "bucket-owner-full-control" | "bucket-owner-read" | "")
        };
        let has_grant = self.headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"));
        if has_grant || self.header("x-amz-acl").is_some_and(|name| !is_harmless(name)) {
            return fail(Fault::AccessControlListNotSupported);
        }
        Ok(())
    }
}

/// The body of a response, on its way past s3s.
#[derive(Debug, Clone)]
pub(crate) struct Carried(Arc<Mutex<Option<Carriage>>>);

/// A body and the status that it comes with.
#[derive(Debug)]
pub(crate) struct Carriage {
    pub(crate) status: StatusCode,
    pub(crate) reply: Reply,
}

impl Carried {
    pub(super) fn attach<T>(response: &mut S3Response<T>, status: StatusCode, reply: Reply) {
        response.extensions.insert(Self(Arc::new(Mutex::new(Some(Carriage { status, reply })))));
    }

    pub(crate) fn take(&self) -> Option<Carriage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The last moment that dates of HTTP can tell: the end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// A time of GEDS, which may be anything if a process of the tenant damaged its index.
pub(super) fn time_of(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds.min(LAST_MS))
}
