//! What is answered, in the form that Prometheus' clients expect.

use crate::{
    Error, Labels, Sample, Series,
    query::{Answer, number},
};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::json;

/// The answer to what went well.
#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

pub(super) fn success<T: Serialize>(data: T) -> Response {
    match serde_json::to_string(&Success { status: "success", data }) {
        Ok(text) => json_text(StatusCode::OK, text),
        Err(error) => {
            let what = format!("the answer cannot be written: {error}");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", &what)
        }
    }
}

fn json_text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn failure(status: StatusCode, kind: &str, what: &str) -> Response {
    let text = json!({ "status": "error", "errorType": kind, "error": what }).to_string();
    json_text(status, text)
}

/// The answer to what went wrong, with Prometheus' kinds and statuses.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let what = types::chain(&self);
        let (status, kind) = match &self {
            Self::Query(_) | Self::Labels(_) | Self::Malformed(_) => {
                (StatusCode::BAD_REQUEST, "bad_data")
            }
            Self::Evaluation(_) | Self::Unsupported(_) | Self::TooMuch(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "execution")
            }
            Self::Timeout { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Self::NotStored { .. } | Self::Taken { .. } | Self::Scrape { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            Self::Disk { .. } | Self::Corrupt { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        };
        failure(status, kind, &what)
    }
}

/// Labels as an object.
pub(super) struct Named<'a>(pub(super) &'a Labels);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A moment in seconds, and a value as text: JSON knows no NaN.
type Point = (f64, String);

fn point(sample: &Sample) -> Point {
    (sample.time_ms as f64 / 1000.0, number(sample.value))
}

#[derive(Serialize)]
struct OfVector<'a> {
    metric: Named<'a>,
    value: Point,
}

#[derive(Serialize)]
struct OfMatrix<'a> {
    metric: Named<'a>,
    values: Vec<Point>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<T> {
    result_type: &'static str,
    result: T,
}

pub(super) fn matrix(series: &[Series]) -> Response {
    let of = |one: &Series| one.samples.iter().map(point).collect();
    let result: Vec<_> =
        series.iter().map(|one| OfMatrix { metric: Named(&one.labels), values: of(one) }).collect();
    success(Data { result_type: "matrix", result })
}

pub(super) fn instant(answer: &Answer) -> Response {
    match answer {
        Answer::Matrix(series) => matrix(series),
        Answer::Scalar(sample) => success(Data { result_type: "scalar", result: point(sample) }),
        Answer::String(time_ms, text) => {
            success(Data { result_type: "string", result: (*time_ms as f64 / 1000.0, text) })
        }
        Answer::Vector(all) => {
            let one = |(labels, sample)| OfVector { metric: Named(labels), value: point(sample) };
            let result: Vec<_> = all.iter().map(|(labels, sample)| one((labels, sample))).collect();
            success(Data { result_type: "vector", result })
        }
    }
}
