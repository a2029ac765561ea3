//! What every response has, and how errors are written.

use super::Reply;
use crate::fault::Fault;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};
use s3s::{S3Error, S3Result};
use std::fmt::Write as _;

/// Documents that s3s writes without saying whose they are.
const NAMELESS: [&str; 2] = ["<CopyObjectResult>", "<CopyPartResult>"];

/// A document of s3s, in the namespace of S3.
pub(super) fn document(bytes: Bytes) -> Reply {
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let Some(root) = NAMELESS.into_iter().find(|root| text.contains(root)) else {
        return Reply::from(bytes);
    };
    let name = root.trim_end_matches('>');
    let named = format!("{name} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    Reply::from(Bytes::from(text.replacen(root, &named, 1)))
}

/// The response to a request.
pub(super) fn finish(
    answer: S3Result<Response<Reply>>,
    head: &request::Parts,
    id: &str,
) -> Response<Reply> {
    let mut response = answer.unwrap_or_else(of_error);
    if response.status().is_client_error() || response.status().is_server_error() {
        name_request(&mut response, head, id);
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Reply::Empty;
        response.headers_mut().remove(header::CONTENT_TYPE);
    } else if head.method == Method::HEAD {
        empty_body(&mut response);
    }
    let told = response.headers_mut();
    insert(told, "x-amz-request-id", id);
    insert(told, "x-amz-id-2", id);
    told.insert(header::SERVER, HeaderValue::from_static("CloudSkin"));
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A response to HEAD tells the length of a body that does not come; that of an error tells nothing.
fn empty_body(response: &mut Response<Reply>) {
    match response.body() {
        Reply::HeadOnly(length) => {
            let length = HeaderValue::from(*length);
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        _ => {
            *response.body_mut() = Reply::Empty;
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
    }
}

fn of_error(error: S3Error) -> Response<Reply> {
    let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Reply::from(Bytes::from(error_document(&error))));
    *response.status_mut() = status;
    if let Some(headers) = error.headers() {
        response.headers_mut().extend(headers.clone());
    }
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, xml);
    response
}

fn error_document(error: &S3Error) -> String {
    let text = error.message().unwrap_or_else(|| Fault::InternalError.text());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>",
        escaped(error.code().as_str()),
        escaped(text)
    )
}

/// Adds to the document of an error what was asked for, and by which request.
fn name_request(response: &mut Response<Reply>, head: &request::Parts, id: &str) {
    let Reply::Whole(bytes) = response.body() else { return };
    let Some(start) =
        std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix("</Error>"))
    else {
        return;
    };
    let mut text = start.to_owned();
    if !text.contains("<Message>") {
        let status = response.status();
        let reason = status.canonical_reason().unwrap_or("The request failed");
        // Writing to a string cannot fail.
        let _ = write!(text, "<Message>{reason}</Message>");
    }
    let resource = escaped(head.uri.path());
    let _ = write!(
        text,
        "<Resource>{resource}</Resource><RequestId>{id}</RequestId><HostId>{id}</HostId></Error>"
    );
    *response.body_mut() = Reply::from(Bytes::from(text));
    response.headers_mut().remove(header::CONTENT_LENGTH);
}

/// Text as XML can carry it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push(character),
            // No document may hold these.
            character if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            character => escaped.push(character),
        }
    }
    escaped
}

/// The same error once more.
pub(super) fn copy_of(error: &S3Error) -> S3Error {
    let mut copy = S3Error::new(error.code().clone());
    if let Some(text) = error.message() {
        copy.set_message(text.to_owned());
    }
    if let Some(status) = error.status_code() {
        copy.set_status_code(status);
    }
    copy
}
