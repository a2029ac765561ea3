//! The policy of a form: what whoever signed it lets others send.

use super::Form;
use crate::fault::Fault;
use data_encoding::BASE64;
use s3s::{S3Error, S3Result};
use serde_json::Value;
use std::ops::RangeInclusive;

/// A policy that was signed.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Seconds since the Unix epoch.
    expires: u64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Equals(String, String),
    StartsWith(String, String),
    Size(u64, u64),
}

impl Policy {
    /// Fields that sign, and that no condition needs to name.
    pub(crate) const SIGNING: [&'static str; 4] =
        ["x-amz-signature", "signature", "awsaccesskeyid", "policy"];

    /// Reads a policy as it stands in a form.
    pub(crate) fn parse(text: &str) -> S3Result<Self> {
        let invalid = || Fault::InvalidPolicyDocument.because("Invalid Policy: Invalid JSON.");
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| invalid())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let expires = value.get("expiration").and_then(Value::as_str);
        let expires = expires.and_then(crate::sign::parse_time).ok_or_else(|| {
            Fault::InvalidPolicyDocument.because("Invalid Policy: Invalid 'expiration' value.")
        })?;
        let list = value.get("conditions").and_then(Value::as_array).ok_or_else(|| {
            Fault::InvalidPolicyDocument.because("Invalid Policy: Invalid 'conditions' value.")
        })?;
        let mut conditions = Vec::new();
        for condition in list {
            conditions.extend(Condition::parse(condition).ok_or_else(|| {
                Fault::InvalidPolicyDocument
                    .because(format!("Invalid Policy: Invalid Simple-Condition: {condition}"))
            })?);
        }
        Ok(Self { expires, conditions })
    }

    /// Whether the form is what the policy allows, at this time in seconds since the Unix epoch.
    pub(crate) fn check(&self, form: &Form, bucket: &str, now: u64) -> S3Result<()> {
        if now >= self.expires {
            return Err(denied("Policy expired."));
        }
        let value = |name: &str| {
            if name == "bucket" { Some(bucket) } else { form.field(name) }
        };
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Equals(name, wanted) => value(name) == Some(wanted),
                Condition::StartsWith(name, start) => {
                    value(name).is_some_and(|value| value.starts_with(start))
                }
                Condition::Size(..) => true,
            };
            if !holds {
                return Err(denied(&format!("Policy Condition failed: {condition:?}")));
            }
        }
        let is_covered = |name: &str| {
            name.starts_with("x-ignore-")
                || Self::SIGNING.contains(&name)
                || self.conditions.iter().any(|condition| condition.is_about(name))
        };
        match form.fields.iter().find(|(name, _)| !is_covered(name)) {
            Some((name, _)) => Err(denied(&format!("Extra input fields: {name}"))),
            None => Ok(()),
        }
    }

    /// How many bytes the file may have, of at most `max`.
    pub(crate) fn size(&self, max: u64) -> RangeInclusive<u64> {
        self.conditions.iter().fold(0..=max, |size, condition| match condition {
            Condition::Size(min, max) => *size.start().max(min)..=*size.end().min(max),
            _ => size,
        })
    }
}

fn denied(text: &str) -> S3Error {
    Fault::AccessDenied.because(format!("Invalid according to Policy: {text}"))
}

impl Condition {
    /// An object may hold several.
    fn parse(value: &Value) -> Option<Vec<Self>> {
        if let Some(fields) = value.as_object() {
            let equals = |(name, value): (&String, &Value)| {
                Some(Self::Equals(name.to_ascii_lowercase(), value.as_str()?.to_owned()))
            };
            return fields.iter().map(equals).collect();
        }
        let [kind, first, second] = value.as_array()?.as_slice() else { return None };
        let kind = kind.as_str()?.to_ascii_lowercase();
        if kind == "content-length-range" {
            let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
            return Some(vec![Self::Size(number(first)?, number(second)?)]);
        }
        let name = first.as_str()?.strip_prefix('$')?.to_ascii_lowercase();
        let text = second.as_str()?.to_owned();
        match kind.as_str() {
            "eq" => Some(vec![Self::Equals(name, text)]),
            "starts-with" => Some(vec![Self::StartsWith(name, text)]),
            _ => None,
        }
    }

    fn is_about(&self, name: &str) -> bool {
        match self {
            Self::Equals(about, _) | Self::StartsWith(about, _) => about == name,
            Self::Size(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(conditions: &str) -> S3Result<Policy> {
        let text =
            format!("{{\"expiration\":\"2030-01-02T03:04:05.000Z\",\"conditions\":{conditions}}}");
        Policy::parse(&BASE64.encode(text.as_bytes()))
    }

    fn form(fields: &[(&str, &str)]) -> Form {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Form { fields, file_name: String::new() }
    }

    #[test]
    fn a_form_must_be_what_its_policy_says() {
        let conditions = r#"[{"bucket":"lab"},["starts-with","$key","a/"],["eq","$x-amz-meta-m","1"],
                             ["content-length-range",2,5]]"#;
        let policy = policy(conditions).expect("a policy");
        let check = |fields: &[(&str, &str)], bucket: &str, now| {
            policy.check(&form(fields), bucket, now).map_err(|e| e.code().as_str().to_owned())
        };
        let good = [("key", "a/b"), ("x-amz-meta-m", "1"), ("x-ignore-me", ""), ("policy", "")];

        assert_eq!(check(&good, "lab", 0), Ok(()));
        assert!(check(&good, "other", 0).is_err());
        assert!(check(&good, "lab", 1_893_553_445).is_err());
        assert!(check(&[("key", "b"), ("x-amz-meta-m", "1")], "lab", 0).is_err());
        assert!(check(&[("key", "a/b")], "lab", 0).is_err());
        let extra = [("key", "a/b"), ("x-amz-meta-m", "1"), ("acl", "private")];
        assert!(check(&extra, "lab", 0).is_err());
        assert_eq!(policy.size(3), 2..=3);
        assert_eq!(policy.size(100), 2..=5);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for conditions in
            ["{}", "[1]", "[[\"eq\",\"key\",\"a\"]]", "[[\"like\",\"$key\",\"a\"]]", "[{\"a\":1}]"]
        {
            let error = policy(conditions).expect_err("a refusal");
            assert_eq!(error.code().as_str(), "InvalidPolicyDocument", "{conditions}");
        }
        assert!(Policy::parse("?").is_err());
        assert!(Policy::parse(&BASE64.encode(b"{}")).is_err());
    }
}
