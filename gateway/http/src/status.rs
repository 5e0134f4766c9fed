//! The only place where a problem becomes a status.

use http::StatusCode;
use tidegate_types::problem::ProblemKind;

/// The status of a kind of problem.
pub(crate) const fn of(kind: ProblemKind) -> StatusCode {
    match kind {
        ProblemKind::BadRequest => StatusCode::BAD_REQUEST,
        ProblemKind::UndefinedFunction | ProblemKind::UnknownResource | ProblemKind::RowNotFound => {
            StatusCode::NOT_FOUND
        }
        ProblemKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ProblemKind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        ProblemKind::Conflict => StatusCode::CONFLICT,
        ProblemKind::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        ProblemKind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ProblemKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ProblemKind::UriTooLong => StatusCode::URI_TOO_LONG,
        ProblemKind::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        ProblemKind::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ProblemKind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ProblemKind::Forbidden => StatusCode::FORBIDDEN,
        ProblemKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ProblemKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ProblemKind::ShardUnavailable | ProblemKind::PolicyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ProblemKind::PoolTimeout | ProblemKind::StatementTimeout | ProblemKind::OutcomeUnknown => {
            StatusCode::GATEWAY_TIMEOUT
        }
    }
}
