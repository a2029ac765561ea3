//! Tags of buckets and objects, and the rules of S3 for them.

use crate::{fault::Fault, sign::Query};
use s3s::S3Result;

/// Most tags of an object.
pub(crate) const OBJECT_TAGS_MAX: usize = 10;
/// Most tags of a bucket.
pub(crate) const BUCKET_TAGS_MAX: usize = 50;
const KEY_MAX_CHARACTERS: usize = 128;
const VALUE_MAX_CHARACTERS: usize = 256;

/// Tags in the order in which they were given.
pub(crate) type Tags = Vec<(String, String)>;

/// Reads the tags of a header: `a=1&b=2`, escaped as in URLs.
pub(crate) fn of_header(text: &str) -> S3Result<Tags> {
    let query = Query::parse(Some(text)).map_err(|_| {
        Fault::InvalidArgument.because(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
             parameters without tag name duplicates.",
        )
    })?;
    let tags = query.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    checked(tags, OBJECT_TAGS_MAX)
}

/// Checks tags by the rules of S3.
pub(crate) fn checked(tags: Tags, max: usize) -> S3Result<Tags> {
    if tags.len() > max {
        let owner = if max == OBJECT_TAGS_MAX { "Object" } else { "Bucket" };
        let text = format!("{owner} tags cannot be greater than {max}");
        return Err(if max == OBJECT_TAGS_MAX { Fault::BadRequest } else { Fault::InvalidTag }
            .because(text));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > KEY_MAX_CHARACTERS || !is_allowed(key) {
            return Err(Fault::InvalidTag.because("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > VALUE_MAX_CHARACTERS || !is_allowed(value) {
            return Err(Fault::InvalidTag.because("The TagValue you have provided is invalid"));
        }
        if key.starts_with("aws:") {
            return Err(
                Fault::InvalidTag.because("System tags cannot be added/updated by requester")
            );
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return Err(Fault::InvalidTag.because("Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// Letters, digits and spaces of any script, and `+ - = . _ : / @`.
fn is_allowed(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "+-=._:/@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_a_query() {
        let tags = of_header("project=x%2Fy&empty=&gr%C3%BCn=a+b").expect("tags");

        let expected = [("project", "x/y"), ("empty", ""), ("grün", "a b")];
        assert_eq!(tags, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn tags_that_s3_refuses_are_refused() {
        let many = (0..11).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        let code = |text: &str| of_header(text).expect_err("a refusal").code().as_str().to_owned();

        assert_eq!(code(&many), "BadRequest");
        assert_eq!(code("a=1&a=2"), "InvalidTag");
        assert_eq!(code("=1"), "InvalidTag");
        assert_eq!(code("aws:x=1"), "InvalidTag");
        assert_eq!(code("a=%3C"), "InvalidTag");
        assert_eq!(code(&format!("{}=1", "k".repeat(129))), "InvalidTag");
        assert_eq!(code(&format!("k={}", "v".repeat(257))), "InvalidTag");
        assert_eq!(code("a=%zz"), "InvalidArgument");
    }
}
