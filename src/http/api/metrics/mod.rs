//! `/metrics`: figures for operators. `README.md` beside this folder explains each of them.

mod exposition;
mod figures;

use actix_web::http::header::{Accept, CONTENT_TYPE, Header, Quality, VARY};
use actix_web::{HttpRequest, HttpResponse};

use self::exposition::Format;
use crate::http::api::caller::CalledBy;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag};
use crate::registry::api_key::Scope;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at("/metrics", &[GET_METRICS])];

/// The endpoint of the operators' listener, where no role is required.
pub(super) const ENDPOINTS_FOR_OPERATORS: &[Endpoint] =
    &[Endpoint::at("/metrics", &[GET_METRICS.served_by(|to| to.to(get_metrics_for_operators))])];

/// The roles of accounts that may read the figures.
const ROLES: &[&str] = &["metrics", "admin"];

const GET_METRICS: Operation = Operation::get("getMetrics", "Shows the figures of the server", |to| to.to(get_metrics))
    .explained(
        "For Prometheus. OpenMetrics if `Accept` names `application/openmetrics-text`. On `admin.listen` no credential is \
         needed. `src/http/api/README.md` explains each figure.",
    )
    .about(Tag::Operation)
    .by(Credential::Service(ROLES, Scope::Metrics))
    .answers(&[Answer::text("The figures.", "text/plain").or_as("application/openmetrics-text")]);

async fn get_metrics(engine: Eng, caller: CalledBy, request: HttpRequest) -> Result<HttpResponse, Rejection> {
    caller.may(ROLES, Scope::Metrics)?;
    Ok(get_metrics_for_operators(engine, request).await)
}

async fn get_metrics_for_operators(engine: Eng, request: HttpRequest) -> HttpResponse {
    let format = wanted(&request);
    let text = exposition::text(figures::collect(&engine).await, format);
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format.content_type()))
        .insert_header((VARY, "accept"))
        .body(text)
}

/// Returns the format that a client asks for: OpenMetrics if it names that, and likes nothing better.
fn wanted(request: &HttpRequest) -> Format {
    let Ok(Accept(accepted)) = Accept::parse(request) else { return Format::Plain };
    let quality_of = |essence: &str| {
        let named = accepted.iter().filter(|accepted| accepted.item.essence_str() == essence);
        named.map(|accepted| accepted.quality).max()
    };
    let open_metrics = quality_of("application/openmetrics-text").unwrap_or(Quality::ZERO);
    let plain = quality_of("text/plain").unwrap_or(Quality::ZERO);
    if open_metrics > Quality::ZERO && open_metrics >= plain { Format::OpenMetrics } else { Format::Plain }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_format_is_the_one_that_the_client_likes_best() {
        let wanted_by = |accept: &str| {
            let request = TestRequest::default().insert_header(("accept", accept)).to_http_request();
            wanted(&request)
        };
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text;version=0.0.1,text/plain",
        ] {
            assert_eq!(wanted_by(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "text/plain;q=0.7, application/openmetrics-text;q=0.2",
            "no media type",
        ] {
            assert_eq!(wanted_by(accept), Format::Plain, "{accept}");
        }
        assert_eq!(wanted(&TestRequest::default().to_http_request()), Format::Plain);
    }
}
