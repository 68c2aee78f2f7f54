//! The answer to an operation that was refused.

use serde_json::{Value, json};

use crate::flow::refusal::{FlowError, Refusal};

/// Returns the JSON of the answer to an operation that was refused.
pub(super) fn refused(error: &FlowError) -> Value {
    match error {
        FlowError::Refused(Refusal::WeakPassword { found, .. }) => {
            let reasons: Vec<_> = found.iter().map(|weakness| weakness.message()).collect();
            json!({"error": format!("the password is too weak: {}", reasons.join("; "))})
        }
        FlowError::Refused(Refusal::Field { message, .. }) => json!({"error": message}),
        FlowError::Refused(refusal @ Refusal::LastAdmin) => {
            json!({"error": format!("{refusal} who can log in: make another one first, or add --force")})
        }
        error => json!({"error": error.to_string()}),
    }
}
