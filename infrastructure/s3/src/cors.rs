//! Cross-origin requests: the rules of a bucket, and what they allow.

use crate::fault::Fault;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use s3s::S3Result;
use serde::{Deserialize, Serialize};

/// Most rules of a bucket.
pub(crate) const RULES_MAX: usize = 100;

const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// A rule of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: Option<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) exposed: Vec<String>,
    pub(crate) max_age: Option<i32>,
}

impl Rule {
    /// Whether S3 would take the rule.
    pub(crate) fn check(&self) -> S3Result<()> {
        if self.origins.is_empty() || self.methods.is_empty() {
            return Err(Fault::MalformedXML.into());
        }
        if let Some(method) = self.methods.iter().find(|method| !METHODS.contains(&method.as_str()))
        {
            return Err(Fault::InvalidRequest.because(format!(
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )));
        }
        let patterns = [(&self.origins, "AllowedOrigin"), (&self.headers, "AllowedHeader")];
        for (patterns, name) in patterns {
            if let Some(pattern) = patterns.iter().find(|pattern| pattern.matches('*').count() > 1)
            {
                return Err(Fault::InvalidRequest.because(format!(
                    "{name} \"{pattern}\" can not have more than one wildcard."
                )));
            }
        }
        Ok(())
    }

    fn allows(&self, request: &CrossOrigin<'_>) -> bool {
        self.origins.iter().any(|pattern| matches(pattern, request.origin))
            && self.methods.iter().any(|method| method == request.method)
            && request.headers.iter().all(|name| {
                self.headers.iter().any(|pattern| {
                    matches(&pattern.to_ascii_lowercase(), &name.to_ascii_lowercase())
                })
            })
    }

    /// The headers that tell a browser of it.
    fn tell(&self, request: &CrossOrigin<'_>, told: &mut HeaderMap) {
        let is_for_all = self.origins.iter().any(|origin| origin == "*");
        let origin = if is_for_all { "*" } else { request.origin };
        let mut tell = |name: HeaderName, value: &str| {
            // What cannot stand in a header cannot have been allowed by a browser's request.
            if let Ok(value) = HeaderValue::from_str(value) {
                told.insert(name, value);
            }
        };
        tell(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        tell(header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods.join(", "));
        if !is_for_all {
            tell(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if !request.headers.is_empty() {
            tell(header::ACCESS_CONTROL_ALLOW_HEADERS, &request.headers.join(", "));
        }
        if !self.exposed.is_empty() {
            tell(header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.exposed.join(", "));
        }
        if let Some(age) = self.max_age {
            tell(header::ACCESS_CONTROL_MAX_AGE, &age.to_string());
        }
        tell(header::VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
    }
}

/// Whether a pattern with at most one `*` covers a text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

/// What a browser asks for another origin's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CrossOrigin<'a> {
    origin: &'a str,
    method: &'a str,
    headers: Vec<&'a str>,
}

impl<'a> CrossOrigin<'a> {
    /// The request itself, if it has an origin.
    pub(crate) fn of(method: &'a str, headers: &'a HeaderMap) -> Option<Self> {
        let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
        Some(Self { origin, method, headers: Vec::new() })
    }

    /// The request that a browser asks leave for beforehand.
    pub(crate) fn of_preflight(headers: &'a HeaderMap) -> S3Result<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let Some(origin) = text(header::ORIGIN) else {
            return Err(Fault::BadRequest
                .because("Insufficient information. Origin request header needed."));
        };
        let Some(method) = text(header::ACCESS_CONTROL_REQUEST_METHOD) else {
            return Err(Fault::BadRequest.because("Invalid Access-Control-Request-Method: null"));
        };
        let names = text(header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let headers = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        Ok(Self { origin, method, headers })
    }

    /// Adds the headers of the first rule that allows it; false if none does.
    pub(crate) fn answer(&self, rules: &[Rule], told: &mut HeaderMap) -> bool {
        let rule = rules.iter().find(|rule| rule.allows(self));
        if let Some(rule) = rule {
            rule.tell(self, told);
        }
        rule.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            origins: vec!["https://*.example.org".into()],
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["x-amz-*".into(), "Content-Type".into()],
            exposed: vec!["ETag".into()],
            max_age: Some(60),
            ..Rule::default()
        }
    }

    fn preflight(origin: &str, method: &str, names: &str) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert("origin", origin.parse().expect("a value"));
        headers.insert("access-control-request-method", method.parse().expect("a value"));
        headers.insert("access-control-request-headers", names.parse().expect("a value"));
        let request = CrossOrigin::of_preflight(&headers).expect("a request");
        let mut told = HeaderMap::new();
        request.answer(&[rule()], &mut told).then_some(told)
    }

    #[test]
    fn a_rule_allows_what_it_names() {
        let told = preflight("https://a.example.org", "PUT", "X-Amz-Date, content-type")
            .expect("it is allowed");

        assert_eq!(told["access-control-allow-origin"], "https://a.example.org");
        assert_eq!(told["access-control-allow-methods"], "GET, PUT");
        assert_eq!(told["access-control-allow-headers"], "X-Amz-Date, content-type");
        assert_eq!(told["access-control-expose-headers"], "ETag");
        assert_eq!(told["access-control-max-age"], "60");
    }

    #[test]
    fn it_allows_nothing_else() {
        assert_eq!(preflight("https://example.com", "PUT", ""), None);
        assert_eq!(preflight("https://a.example.org", "DELETE", ""), None);
        assert_eq!(preflight("https://a.example.org", "PUT", "x-other"), None);
        assert_eq!(preflight("https://.example.or", "PUT", ""), None);
    }

    #[test]
    fn rules_that_s3_refuses_are_refused() {
        let with = |change: fn(&mut Rule)| {
            let mut rule = rule();
            change(&mut rule);
            rule.check().map_err(|error| error.code().as_str().to_owned())
        };

        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|rule| rule.origins.clear()), Err("MalformedXML".into()));
        assert_eq!(with(|rule| rule.methods = vec!["PATCH".into()]), Err("InvalidRequest".into()));
        assert_eq!(with(|rule| rule.origins = vec!["*.*".into()]), Err("InvalidRequest".into()));
    }
}
