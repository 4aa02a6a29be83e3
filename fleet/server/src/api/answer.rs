//! Bodies with a limit, answers with the protocol's number, refusals with a code and the mend.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use watertight_fleet_wire::protocol::{self, Message, Refused, NEWEST, PROTOCOL_HEADER};
use watertight_fleet_wire::{Code, Problem};

use crate::access::NotLooked;
use crate::clock::random_part_ms;
use crate::store::StoreError;

/// A body takes no longer to arrive: whoever drips one keeps no memory.
const BODY_WAIT: Duration = Duration::from_secs(20);
/// Of a body that is too large no more than this is taken, and thrown away.
const DRAINED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of a parameter's name no more is told again.
const PARAMETER_CHARS_MAX: usize = 64;
/// After what can't be made durable.
const NOT_DURABLE_MS: u64 = 15_000;

/// What is answered instead.
#[derive(Debug)]
pub(super) struct Refusal(Problem);

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Problem { code, message: message.into(), retry_after_ms: None })
    }

    pub(super) fn later(code: Code, message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self(Problem { code, message: message.into(), retry_after_ms: Some(retry_after_ms) })
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Protocol { .. } => Code::Protocol,
            Refused::TooLarge { .. } => Code::TooLarge,
            Refused::Form { .. } => Code::Form,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::new(Code::NotFound, error.to_string()),
            StoreError::Taken => Self::new(Code::Form, error.to_string()),
            StoreError::LastAdmin { .. } => Self::new(Code::Conflict, error.to_string()),
            error => Self::later(Code::NotDurable, error.to_string(), NOT_DURABLE_MS + random_part_ms(NOT_DURABLE_MS)),
        }
    }
}

impl From<NotLooked> for Refusal {
    fn from(error: NotLooked) -> Self {
        match error {
            NotLooked::Busy { wait_ms } => Self::later(Code::Busy, error.to_string(), wait_ms),
            NotLooked::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            Code::Protocol | Code::Form => StatusCode::BAD_REQUEST,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::Token | Code::Unauthenticated | Code::Expired => StatusCode::UNAUTHORIZED,
            Code::Revoked | Code::Forbidden => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Conflict => StatusCode::CONFLICT,
            Code::Busy => StatusCode::TOO_MANY_REQUESTS,
            Code::NotDurable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = json(NEWEST, &self.0);
        *response.status_mut() = status;
        if self.0.code == Code::TooLarge {
            // More of the body may come than was taken, so nothing can follow it.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(wait_ms) = self.0.retry_after_ms {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1000)));
        }
        response
    }
}

/// An answer in the protocol of its request.
pub(super) fn json<M: Message>(protocol: u32, message: &M) -> Response {
    let mut response = Response::new(Body::from(protocol::write(protocol, message)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from(NEWEST));
    response
}

/// The protocol that a request is written in.
pub(super) fn spoken(headers: &HeaderMap) -> Result<u32, Refusal> {
    Ok(protocol::spoken(headers.get(PROTOCOL_HEADER).and_then(|number| number.to_str().ok()))?)
}

/// What a body of an agent's says, in the protocol of its request.
pub(super) async fn told<M: Message>(protocol: u32, sent: Body, size_bytes_max: usize) -> Result<M, Refusal> {
    Ok(protocol::read(protocol, &body(sent, size_bytes_max).await?, size_bytes_max)?)
}

/// Takes what still comes and keeps none of it: a connection that is closed before would break in the sender's hands, and the refusal
/// with it.
async fn drain(body: &mut Body) {
    let mut left = DRAINED_BYTES_MAX;
    let drained = async {
        while let (1.., Some(Ok(frame))) = (left, body.frame().await) {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    let _ = tokio::time::timeout(BODY_WAIT, drained).await; // who sends for longer hears of a broken connection
}

/// The body, if it is small enough and comes soon enough.
pub(super) async fn body(mut body: Body, size_bytes_max: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::TooLarge, format!("the body: at most {size_bytes_max} bytes are read"));
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > size_bytes_max as u64 {
        drain(&mut body).await;
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_WAIT, Limited::new(&mut body, size_bytes_max).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            drain(&mut body).await;
            Err(too_large())
        }
        Ok(Err(_)) => Err(Refusal::new(Code::Form, "the body ended before its end")),
        Err(_) => Err(Refusal::new(Code::Form, format!("the body took longer than {} s", BODY_WAIT.as_secs()))),
    }
}

/// Refuses a request with parameters, on paths that take none.
pub(super) async fn no_parameters(request: Request, next: Next) -> Result<Response, Refusal> {
    let named = request.uri().query().and_then(|query| query.split(['&', '=']).find(|name| !name.is_empty()));
    if let Some(name) = named {
        let name: String = name.chars().take(PARAMETER_CHARS_MAX).collect();
        return Err(Refusal::new(Code::Form, format!("unknown parameter `{name}`: this path takes none")));
    }
    Ok(next.run(request).await)
}

/// An answer that refuses a method gets a body as every refusal has: the router knows the methods, and says them in a header alone.
#[must_use]
pub fn in_words(answer: Response) -> Response {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    let allowed = answer.headers().get(header::ALLOW).cloned();
    let methods = allowed.as_ref().and_then(|allowed| allowed.to_str().ok()).unwrap_or_default().replace(',', ", ");
    let mut worded = Refusal::new(Code::Form, format!("this path takes {methods}")).into_response();
    *worded.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    worded.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    worded
}

pub(super) async fn no_such_path() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such path: /v1/openapi.json has those that there are")
}
