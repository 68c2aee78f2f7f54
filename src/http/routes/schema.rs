//! The form of a body, from the type that is parsed or written.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema as OpenApiSchema;

/// The form of a type, by name, so that the document has each once.
#[derive(Clone, Copy)]
pub(in crate::http) struct Schema {
    /// Returns the name of the type in the document.
    pub(in crate::http) name: fn() -> Cow<'static, str>,
    /// Returns its form.
    pub(in crate::http) form: fn() -> RefOr<OpenApiSchema>,
    /// Adds the forms of the types that it refers to.
    pub(in crate::http) parts: fn(&mut Vec<(String, RefOr<OpenApiSchema>)>),
}

impl Schema {
    /// Returns the form of `T`.
    pub(in crate::http) const fn of<T: ToSchema>() -> Self {
        Self { name: T::name, form: T::schema, parts: T::schemas }
    }
}
