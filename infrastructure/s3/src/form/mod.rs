//! Objects that browsers send with forms: `POST` of `multipart/form-data` to a bucket.

mod parts;
mod policy;

pub(crate) use parts::Form;
pub(crate) use policy::Policy;

use crate::{fault::Fault, ops::Info, sign::encode};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use s3s::S3Result;

/// Fields that are sent as headers of the same name when an object is put.
const HEADERS: [&str; 5] =
    ["content-type", "cache-control", "content-disposition", "content-encoding", "expires"];

impl Form {
    /// The headers that a put of the same object would have.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.fields {
            let name = if name == "acl" { "x-amz-acl" } else { name.as_str() };
            let is_kept = HEADERS.contains(&name)
                || (name.starts_with("x-amz-") && !Policy::SIGNING.contains(&name));
            if let (true, Ok(name), Ok(value)) =
                (is_kept, HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
            {
                headers.append(name, value);
            }
        }
        headers
    }

    /// The object's key, in which the file's name may stand.
    pub(crate) fn key(&self) -> S3Result<String> {
        let key = self.field("key").ok_or_else(|| {
            Fault::InvalidArgument.because("Bucket POST must contain a field named 'key'.")
        })?;
        let key = key.replace("${filename}", &self.file_name);
        geds::check_key(&key).map_err(|_| match key.is_empty() {
            true => Fault::InvalidArgument.because("User key must have a length greater than 0."),
            false => Fault::KeyTooLongError.into(),
        })?;
        Ok(key)
    }

    /// What the browser is told: a status, headers and a document.
    pub(crate) fn answer(&self, info: &Info, etag: &str) -> (StatusCode, HeaderMap, String) {
        let host = info.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let key = encode(&info.key, true);
        let location = format!("http://{}/{}/{key}", host.unwrap_or("localhost"), info.bucket);
        let mut headers = HeaderMap::new();
        let mut tell = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        tell(header::ETAG, etag);
        let target = self.field("success_action_redirect").or_else(|| self.field("redirect"));
        if let Some(target) = target.filter(|target| target.starts_with("http")) {
            let mark = if target.contains('?') { '&' } else { '?' };
            let (bucket, etag) = (&info.bucket, encode(etag, false));
            let key = encode(&info.key, false);
            tell(header::LOCATION, &format!("{target}{mark}bucket={bucket}&key={key}&etag={etag}"));
            return (StatusCode::SEE_OTHER, headers, String::new());
        }
        tell(header::LOCATION, &location);
        match self.field("success_action_status") {
            Some("200") => (StatusCode::OK, headers, String::new()),
            Some("201") => {
                let document = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{location}\
                     </Location><Bucket>{}</Bucket><Key>{key}</Key><ETag>{etag}</ETag></PostResponse>",
                    info.bucket
                );
                (StatusCode::CREATED, headers, document)
            }
            _ => (StatusCode::NO_CONTENT, headers, String::new()),
        }
    }
}
