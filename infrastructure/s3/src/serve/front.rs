//! What every request passes: who asks, for what, and whether the body is what it says. s3s then
//! finds the operation; it sees no more of a request than it needs for that.

use super::{
    Reply,
    forward::forwarded,
    lend::{Home, Loan},
    respond,
};
use crate::{
    config::Config,
    cors::CrossOrigin,
    digest::Hasher,
    fault::{Fault, fail},
    form::{Form, Policy},
    metrics::Metrics,
    ops::{self, Carriage, Carried, Info, Operation, Operations, owner_id},
    patience::Pace,
    payload::{Body, Expected},
    sign::{self, Head, Keys, Moment, Payload, Query, Verified},
    store::{self, HIDDEN_BUCKET, Tenant, Tenants},
    target::Target,
};
use bytes::Bytes;
use data_encoding::HEXUPPER;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use s3s::{
    S3Result,
    service::{S3Service, S3ServiceBuilder},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Most bytes of a body that is no object's: a list of 10,000 parts, or of 1,000 long keys.
const DOCUMENT_MAX_BYTES: u64 = 8 << 20;

/// How often uploads are looked at that nobody finishes.
const SWEEP_LEAST: Duration = Duration::from_secs(1);
const SWEEP_MOST: Duration = Duration::from_secs(3600);

/// The SHA-256 of nothing.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Lets requests in.
pub(super) struct Front {
    config: Arc<Config>,
    keys: Keys,
    tenants: Arc<Tenants>,
    service: S3Service,
    /// Numbers requests.
    requests: AtomicU64,
    pub(super) metrics: Metrics,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Front {
    pub(super) fn new(config: Arc<Config>, keys: Keys, tenants: Tenants) -> Self {
        let service = S3ServiceBuilder::new(Operations).build();
        let started = now().as_nanos();
        // Ids of one endpoint do not repeat those of its last life.
        let requests = AtomicU64::new(u64::try_from(started & u128::from(u64::MAX)).unwrap_or(0));
        let metrics = Metrics::new();
        Self { config, keys, tenants: Arc::new(tenants), service, requests, metrics }
    }

    /// Answers a request, whatever it is, and counts it.
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Response<Reply> {
        let (began, operation) = (Instant::now(), Operation::default());
        let received = request.body().size_hint().exact().unwrap_or(0);
        let response = self.serve_as(request, &operation).await;
        self.metrics.answered(operation.get().copied(), received, &response, began.elapsed());
        response
    }

    async fn serve_as(&self, request: Request<Incoming>, operation: &Operation) -> Response<Reply> {
        let id = HEXUPPER.encode(&self.requests.fetch_add(1, Relaxed).to_be_bytes());
        let (head, incoming) = request.into_parts();
        let home = Home::default();
        let body = home.lend(incoming);
        let (target, answer) = match self.target(&head) {
            Ok(target) => {
                let answer = self.answer(&head, &target, body, operation).await;
                (Some(target), answer)
            }
            Err(error) => {
                drop(body);
                (None, Err(error))
            }
        };
        let is_read = home.drain(head.headers.contains_key(header::EXPECT)).await;
        let mut response = respond::finish(answer, &head, &id);
        if !is_read {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if let (Some(target), Some(asked)) =
            (&target, CrossOrigin::of(head.method.as_str(), &head.headers))
            && head.method != Method::OPTIONS
        {
            self.tell_cors(target, &asked, response.headers_mut()).await;
        }
        response
    }

    fn target(&self, head: &request::Parts) -> S3Result<Target> {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let target = Target::parse(host, head.uri.path(), &self.config.domains)?;
        match &target.bucket {
            Some(bucket) if geds::check_bucket(bucket).is_err() => fail(Fault::InvalidBucketName),
            _ => Ok(target),
        }
    }

    async fn answer(
        &self,
        head: &request::Parts,
        target: &Target,
        body: Loan,
        operation: &Operation,
    ) -> S3Result<Response<Reply>> {
        if head.method == Method::OPTIONS {
            let _ = operation.set("preflight");
            return self.preflight(head, target).await;
        }
        if let (&Method::POST, Some(_), None, Some(content_type)) =
            (&head.method, &target.bucket, &target.key, form_type(&head.headers))
        {
            let _ = operation.set("post_object");
            return self.post_form(head, target, content_type, body).await;
        }
        let query = Query::parse(head.uri.query())?;
        let signed = Head {
            method: &head.method,
            path: head.uri.path(),
            query: &query,
            headers: &head.headers,
            bucket_of_host: target.bucket.as_deref().filter(|_| target.is_by_host),
        };
        let Verified { key, payload } = sign::verify(signed, &self.keys, self.moment())?;
        let tenant = self.tenants.get(&key.tenant).ok_or(Fault::AccessDenied)?;
        check_method(&head.method, target, &query)?;
        let headers = with_parameters(&head.headers, &query);
        check_owner(&headers, tenant)?;

        let length = length(&headers, &body, &payload)?;
        let pace = Pace::of(&self.config);
        let (object, document) = if is_object(&head.method, target, &query, &headers) {
            let length = length.ok_or(Fault::MissingContentLength)?;
            if length > self.config.put_max_bytes {
                return fail(Fault::EntityTooLarge);
            }
            (Some(Body::new(body, payload, length, pace)), Bytes::new())
        } else {
            let length = length.unwrap_or(0);
            let body = Body::new(body, payload, length, pace);
            (None, document(body, &headers, &query).await?)
        };
        let forwarded = forwarded(&head.method, target, &query, &headers, document)?;
        let info = Info {
            config: Arc::clone(&self.config),
            tenant: Arc::clone(tenant),
            headers,
            query,
            bucket: target.bucket.clone().unwrap_or_default(),
            key: target.key.clone().unwrap_or_default(),
            body: Mutex::new(object),
            operation: Arc::clone(operation),
        };
        self.operate(forwarded, info).await
    }

    /// Stores the file of a form.
    async fn post_form(
        &self,
        head: &request::Parts,
        target: &Target,
        content_type: &str,
        body: Loan,
    ) -> S3Result<Response<Reply>> {
        let length = body.size_hint().exact().ok_or(Fault::MissingContentLength)?;
        let pace = Pace::of(&self.config);
        let body = Body::new(body, Payload::Unsigned, length, pace);
        let (form, file) = Form::read(content_type, body).await?;
        let text = form.field("policy").ok_or(Fault::AccessDenied)?;
        let key = sign::verify_form(text, |name| form.field(name), &self.keys)?;
        let policy = Policy::parse(text)?;
        let bucket = target.bucket.clone().unwrap_or_default();
        policy.check(&form, &bucket, now().as_secs())?;
        form.check()?;
        let size = policy.size(self.config.put_max_bytes);
        // No file is larger than its form; that tells how it is best taken.
        let size = *size.start()..=length.min(*size.end());
        let mut headers = form.headers();
        if let Some(host) = head.headers.get(header::HOST) {
            headers.insert(header::HOST, host.clone());
        }
        let info = Arc::new(Info {
            config: Arc::clone(&self.config),
            tenant: Arc::clone(self.tenants.get(&key.tenant).ok_or(Fault::AccessDenied)?),
            headers,
            query: Query::default(),
            bucket,
            key: form.key()?,
            body: Mutex::new(Some(Body::of_file(file, size, pace))),
            operation: Operation::default(),
        });
        let stored = ops::put(&info).await?.output;
        let etag = stored.e_tag.map(|etag| format!("\"{}\"", etag.value())).unwrap_or_default();
        let (status, headers, document) = form.answer(&info, &etag);
        let mut response = Response::new(Reply::from(Bytes::from(document)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Lets s3s find the operation, and takes its answer.
    async fn operate(
        &self,
        mut request: Request<s3s::Body>,
        info: Info,
    ) -> S3Result<Response<Reply>> {
        request.extensions_mut().insert(Arc::new(info));
        let response = self.service.call(request).await.map_err(|error| {
            tracing::error!(?error, "an answer cannot be written");
            Fault::InternalError
        })?;
        let (mut head, mut body) = response.into_parts();
        let reply = match head.extensions.remove::<Carried>().and_then(|carried| carried.take()) {
            Some(Carriage { status, reply }) => {
                head.status = status;
                reply
            }
            None => respond::document(body.take_bytes().unwrap_or_default()),
        };
        Ok(Response::from_parts(head, reply))
    }

    /// Removes uploads that nobody finishes, now and then; it ends with the endpoint.
    pub(super) async fn sweep(self: Arc<Self>) {
        let age_max = Duration::from_secs(self.config.upload_age_max_s);
        let period = (age_max / 4).clamp(SWEEP_LEAST, SWEEP_MOST);
        while !age_max.is_zero() {
            let front = Arc::clone(&self);
            // What went wrong was logged, and is tried again.
            let _ = store::blocking(move || front.sweep_once(age_max)).await;
            tokio::time::sleep(period).await;
        }
    }

    fn sweep_once(&self, age_max: Duration) {
        for tenant in self.tenants.values() {
            match ops::remove_abandoned(tenant, age_max, now()) {
                Ok(0) => {}
                Ok(count) => {
                    tracing::info!(
                        tenant = tenant.name,
                        count,
                        "uploads that nobody finished are removed"
                    );
                    self.metrics.abandoned(count);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(tenant = tenant.name, error, "cannot remove abandoned uploads");
                }
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: now(), skew_max: Duration::from_secs(self.config.clock_skew_max_s) }
    }

    /// Answers a browser that asks whether it may ask.
    async fn preflight(&self, head: &request::Parts, target: &Target) -> S3Result<Response<Reply>> {
        let asked = CrossOrigin::of_preflight(&head.headers)?;
        let mut response = Response::new(Reply::Empty);
        if self.tell_cors(target, &asked, response.headers_mut()).await {
            return Ok(response);
        }
        fail(Fault::AccessForbidden)
    }

    /// Adds what the bucket's rules say of another origin; false if they allow nothing. Who asks is
    /// not known: a browser does not sign this.
    async fn tell_cors(
        &self,
        target: &Target,
        asked: &CrossOrigin<'_>,
        told: &mut HeaderMap,
    ) -> bool {
        let Some(bucket) = target.bucket.clone() else { return false };
        let tenants = Arc::clone(&self.tenants);
        let settings = store::blocking(move || {
            let of = |tenant: &Arc<Tenant>| tenant.settings(&bucket).ok();
            tenants.values().filter_map(of).collect::<Vec<_>>()
        });
        let settings = settings.await.unwrap_or_default();
        settings.iter().any(|settings| asked.answer(&settings.cors, told))
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The content type of a form.
fn form_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    text.to_ascii_lowercase().starts_with("multipart/form-data").then_some(text)
}

/// Refuses what no operation is.
fn check_method(method: &Method, target: &Target, query: &Query) -> S3Result<()> {
    if target.bucket.as_deref() == Some(HIDDEN_BUCKET) && method != Method::PUT {
        return fail(Fault::NoSuchBucket);
    }
    let has = |names: &[&str]| names.iter().any(|name| query.has(name));
    let is_known = match (method, &target.bucket, &target.key) {
        (&Method::GET, ..) => true,
        (_, None, _) => false,
        (&Method::HEAD | &Method::PUT | &Method::DELETE, ..) => true,
        (&Method::POST, Some(_), None) => {
            if !has(&["delete", "metadataTable"]) {
                return Err(Fault::PreconditionFailed
                    .because("Bucket POST must be of the enclosure-type multipart/form-data"));
            }
            true
        }
        (&Method::POST, Some(_), Some(_)) => has(&["uploads", "uploadId", "restore", "select"]),
        _ => false,
    };
    if is_known { Ok(()) } else { fail(Fault::MethodNotAllowed) }
}

/// The headers, and those that a presigned URL carries as parameters.
fn with_parameters(headers: &HeaderMap, query: &Query) -> HeaderMap {
    let mut headers = headers.clone();
    for (name, value) in query.iter() {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") || headers.contains_key(&name) {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.insert(name, value);
        }
    }
    headers
}

/// Refuses a request that is meant for somebody else's bucket.
fn check_owner(headers: &HeaderMap, tenant: &Tenant) -> S3Result<()> {
    let expected = headers.get("x-amz-expected-bucket-owner");
    let is_owner = |owner: &HeaderValue| {
        owner == tenant.name.as_str() || owner == owner_id(&tenant.name).as_str()
    };
    if expected.is_none_or(is_owner) { Ok(()) } else { fail(Fault::AccessDenied) }
}

/// How many bytes of data the body has, if it says so.
fn length(headers: &HeaderMap, body: &Loan, payload: &Payload) -> S3Result<Option<u64>> {
    if !matches!(payload, Payload::Chunks { .. }) {
        let is_told = headers.contains_key(header::CONTENT_LENGTH);
        return Ok(body.size_hint().exact().filter(|length| is_told || *length > 0));
    }
    let Some(value) = headers.get("x-amz-decoded-content-length") else {
        return fail(Fault::MissingContentLength);
    };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Fault::InvalidArgument.because("x-amz-decoded-content-length must be a number of bytes")
    })
}

/// Parameters with which a body is a document about an object, not its bytes.
const ABOUT_OBJECTS: [&str; 6] =
    ["acl", "tagging", "retention", "legal-hold", "restore", "torrent"];

/// Whether the body is that of an object or of a part.
fn is_object(method: &Method, target: &Target, query: &Query, headers: &HeaderMap) -> bool {
    method == Method::PUT
        && target.key.is_some()
        && !headers.contains_key("x-amz-copy-source")
        && !ABOUT_OBJECTS.iter().any(|name| query.has(name))
}

/// Reads a body that is no object's.
async fn document(mut body: Body, headers: &HeaderMap, query: &Query) -> S3Result<Bytes> {
    if body.length() > DOCUMENT_MAX_BYTES {
        return fail(Fault::MaxMessageLengthExceeded);
    }
    if body.length() == 0 && body.sha256().is_none_or(|digest| digest == EMPTY_SHA256) {
        return body.all().await;
    }
    // Checksums of a request that completes an upload are those of the object.
    let of_object = query.has("uploadId");
    let expected = if of_object { Expected::of_md5(headers)? } else { Expected::of(headers)? };
    let mut hasher = Hasher::new(body.sha256().is_some(), expected.algorithm());
    let bytes = body.all().await?;
    hasher.update(&bytes);
    expected.check(&body, &hasher.finish())?;
    Ok(bytes)
}
