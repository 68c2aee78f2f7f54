//! The mailbox around [`FileChecks`].

pub use super::state::{ForgetKeys, Remember};
use super::{FileCheckV1, FileChecks};
use crate::registry::{handles, registry};

registry!(FileChecks, FileCheckV1, "file check");

handles!(FileChecks {
    Remember => (), Essential, |checks, remember, now| checks.remember(&remember, now);
    ForgetKeys => (), Essential, |checks, forget, _now| checks.forget(&forget);
});
