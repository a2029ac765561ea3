//! Answers that are not a success: always an [`api::Problem`] as JSON.

use super::super::Error;
use api::{ApiError, Problem};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use types::ErrorKind;

/// Why a request gets nothing else.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Problem::new(kind, message).into()
    }

    /// The refusal under another status than its kind's.
    pub(super) fn with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, problem }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // Only a watch or list that is too old meets this, and it has a status of its own.
        let gone = matches!(error, Error::Store(meta::Error::Compacted { .. }));
        let refusal = Self::from(Problem::from(error));
        if gone { refusal.with(StatusCode::GONE) } else { refusal }
    }
}

impl From<meta::Error> for Refusal {
    fn from(error: meta::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"cloudskin\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
