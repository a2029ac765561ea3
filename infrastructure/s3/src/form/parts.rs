//! The fields of a form, and its file as a stream.

use crate::{
    fault::{Fault, fail},
    payload::Body,
};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::{S3Result, StdError};

/// Most bytes of all fields before the file.
const FIELDS_MAX_BYTES: usize = 64 << 10;

/// The longest boundary, by RFC 2046.
const BOUNDARY_MAX_BYTES: usize = 70;

/// What came before a form's file, and of it.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// Names are in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) file_name: String,
}

/// The part of a form that is read.
struct Part {
    name: String,
    file_name: Option<String>,
}

impl Form {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Reads a form to its file, which comes as a stream.
    pub(crate) async fn read(
        content_type: &str,
        mut body: Body,
    ) -> S3Result<(Self, impl http_body::Body<Data = Bytes, Error = StdError> + Send + 'static)>
    {
        let delimiter = format!("\r\n--{}", boundary(content_type)?).into_bytes();
        let mut form = Self::default();
        // The first delimiter may come without a line break of its own.
        let mut buffer = BytesMut::from(&b"\r\n"[..]);
        loop {
            // What stands before a delimiter is the value of the part before.
            let end = find_more(&mut body, &mut buffer, &delimiter).await?;
            let _ = buffer.split_to(end + delimiter.len());
            let line = find_more(&mut body, &mut buffer, b"\r\n").await?;
            if &buffer[..line] == b"--" {
                return Err(Fault::InvalidArgument
                    .because("POST requires exactly one file upload per request."));
            }
            let end = find_more(&mut body, &mut buffer, b"\r\n\r\n").await?;
            let part = Part::parse(&buffer[..end])?;
            let _ = buffer.split_to(end + 4);
            if part.name == "file" {
                form.file_name = part.file_name.unwrap_or_default();
                return Ok((form, file(body, buffer, delimiter)));
            }
            let end = find_more(&mut body, &mut buffer, &delimiter).await?;
            let value = String::from_utf8(buffer[..end].to_vec());
            form.fields.push((part.name, value.map_err(|_| Fault::MalformedPOSTRequest)?));
            let size: usize =
                form.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
            if size > FIELDS_MAX_BYTES {
                return fail(Fault::MaxPostPreDataLengthExceededError);
            }
            let _ = buffer.split_to(end);
        }
    }
}

fn boundary(content_type: &str) -> S3Result<&str> {
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary = boundary.map(|text| text.trim_matches('"')).unwrap_or_default();
    if (1..=BOUNDARY_MAX_BYTES).contains(&boundary.len()) {
        return Ok(boundary);
    }
    fail(Fault::MalformedPOSTRequest)
}

/// Receives until `what` stands in the buffer, and says where.
async fn find_more(body: &mut Body, buffer: &mut BytesMut, what: &[u8]) -> S3Result<usize> {
    loop {
        if let Some(at) = find(buffer, what) {
            return Ok(at);
        }
        if buffer.len() > FIELDS_MAX_BYTES {
            return fail(Fault::MaxPostPreDataLengthExceededError);
        }
        match body.next().await? {
            Some(bytes) => buffer.extend_from_slice(&bytes),
            None => return fail(Fault::MalformedPOSTRequest),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The bytes of the file, which end with a delimiter.
fn file(
    body: Body,
    buffer: BytesMut,
    delimiter: Vec<u8>,
) -> impl http_body::Body<Data = Bytes, Error = StdError> + Send + 'static {
    let state = (body, buffer, delimiter, false);
    StreamBody::new(futures_util::stream::unfold(
        state,
        |(mut body, mut buffer, delimiter, over)| async move {
            if over {
                return None;
            }
            loop {
                if let Some(end) = find(&buffer, &delimiter) {
                    let last = buffer.split_to(end).freeze();
                    return Some((Ok(Frame::data(last)), (body, buffer, delimiter, true)));
                }
                // The delimiter may have begun.
                let certain = buffer.len().saturating_sub(delimiter.len() - 1);
                if certain > 0 {
                    let piece = buffer.split_to(certain).freeze();
                    return Some((Ok(Frame::data(piece)), (body, buffer, delimiter, false)));
                }
                let error: StdError = match body.next().await {
                    Ok(Some(bytes)) => {
                        buffer.extend_from_slice(&bytes);
                        continue;
                    }
                    Ok(None) => "the form ends within its file".into(),
                    Err(error) => error.into(),
                };
                return Some((Err(error), (body, buffer, delimiter, true)));
            }
        },
    ))
}

impl Part {
    /// Reads the headers of a part.
    fn parse(head: &[u8]) -> S3Result<Self> {
        let head = std::str::from_utf8(head).map_err(|_| Fault::MalformedPOSTRequest)?;
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let disposition = disposition.ok_or(Fault::MalformedPOSTRequest)?;
        let parameter = |wanted: &str| {
            disposition.split(';').find_map(|parameter| {
                let (name, value) = parameter.trim().split_once('=')?;
                let is_it = name.trim().eq_ignore_ascii_case(wanted);
                is_it.then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let name = parameter("name").ok_or(Fault::MalformedPOSTRequest)?.to_ascii_lowercase();
        // Some browsers tell the whole path.
        let file_name = parameter("filename");
        let file_name =
            file_name.map(|name| name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned());
        Ok(Self { name, file_name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, patience::Pace, sign::Payload};
    use http_body_util::BodyExt;

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${filename}\r\n\
                        --b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n\
                        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\d\\f.txt\"\r\n\
                        Content-Type: text/plain\r\n\r\nline\r\n--not the end\r\n--b--\r\n";

    /// Reads a form that arrives in pieces of `step` bytes.
    async fn read(form: &'static str, step: usize) -> S3Result<(Form, Result<Bytes, String>)> {
        let pieces = form.as_bytes().chunks(step);
        let frames: Vec<_> =
            pieces.map(|piece| Ok::<_, StdError>(Frame::data(Bytes::from_static(piece)))).collect();
        let incoming = StreamBody::new(futures_util::stream::iter(frames));
        let pace = Pace::of(&Config::default());
        let body = Body::new(incoming, Payload::Unsigned, form.len() as u64, pace);
        let (form, file) = Form::read("multipart/form-data; boundary=b", body).await?;
        let file = file.collect().await.map(|file| file.to_bytes());
        Ok((form, file.map_err(|error| error.to_string())))
    }

    #[tokio::test]
    async fn a_form_is_read_however_it_arrives() {
        for step in [1, 3, 1000] {
            let (form, file) = read(FORM, step).await.expect("a form");

            assert_eq!(form.field("key"), Some("a/${filename}"));
            assert_eq!(form.field("x"), Some(""));
            assert_eq!(form.key().expect("a key"), "a/f.txt");
            assert_eq!(file.expect("a file"), "line\r\n--not the end");
        }
    }

    #[tokio::test]
    async fn a_form_that_ends_early_is_refused() {
        let code = |error: s3s::S3Error| error.code().as_str().to_owned();

        let (_, file) = read(&FORM[..FORM.len() - 8], 7).await.expect("fields");
        assert!(file.is_err());
        let error = read(&FORM[..50], 7).await.expect_err("a refusal");
        assert_eq!(code(error), "MalformedPOSTRequest");
        let error =
            read("--b\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n\r\n--b--\r\n", 7);
        assert_eq!(code(error.await.expect_err("a refusal")), "InvalidArgument");
    }
}
