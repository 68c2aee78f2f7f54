//! The page of a problem, for programs and for browsers.

use base64ct::{Base64, Encoding};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::http::problem::explained::{Explained, title};

/// What a problem means, and what to do.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemPage {
    /// The address of this page, as in the problem.
    #[schema(format = "uri")]
    r#type: String,
    #[schema(example = "weak_password")]
    code: &'static str,
    title: String,
    /// The status of the answers with this code.
    status: u16,
    /// What has happened.
    meaning: &'static str,
    /// What a client does now.
    advice: &'static str,
    /// Whether to send the request again: `never`, `changed`, `with_another_credential`, `after_retry_after` or `again`.
    #[schema(example = "changed")]
    retry: &'static str,
}

impl ProblemPage {
    /// Returns the page of a server that is reached at `origin`.
    pub(super) fn of(explained: &Explained, origin: &str) -> Self {
        Self {
            r#type: format!("{origin}/problems/{}", explained.code.replace('_', "-")),
            code: explained.code,
            title: title(explained.code),
            status: explained.status,
            meaning: explained.meaning,
            advice: explained.advice,
            retry: explained.retry.name(),
        }
    }
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
                     color-scheme:light dark}h1{line-height:1.2}h2{font-size:1rem;margin:1.5rem 0 0}p{margin:.25rem 0}";

/// Returns the policy of the page: its own style, and nothing else.
pub(super) fn policy() -> String {
    let hash = Base64::encode_string(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

/// Returns the page for a browser. Nothing in it comes from a request, and no text of it needs escaping, as a test says.
pub(super) fn html(explained: &Explained) -> String {
    let Explained { code, status, meaning, advice, retry } = explained;
    let (title, retry) = (title(code), retry.sentence());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n<p><code>{code}</code>, status {status}</p>\n\
         <h2>What has happened</h2>\n<p>{meaning}</p>\n<h2>What to do</h2>\n<p>{advice}</p>\n\
         <h2>Whether to try again</h2>\n<p>{retry}</p>\n</main>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::explained::EXPLAINED;

    #[test]
    fn no_text_of_a_page_needs_escaping() {
        for explained in EXPLAINED {
            let texts = [explained.code, explained.meaning, explained.advice, explained.retry.sentence()];
            for text in texts {
                assert!(!text.contains(['<', '>', '&', '"', '\'']), "{}: {text}", explained.code);
            }
        }
        assert!(!STYLE.contains('<'));
    }
}
