//! What an account carries beside its credentials, as an embedding program sets it.

use std::fmt;

use crate::flow::account::carried::Carried;
use crate::value::json_object::NewObject;

/// What an account carries beside its credentials. A field that is not named stays as it is, and an empty text takes it away.
///
/// ```
/// use portcullis::Fields;
///
/// let fields = Fields::new().external_id("shop-4711").locale("en-GB").app_metadata(r#"{"plan":"pro"}"#);
/// # let _ = fields;
/// ```
#[derive(Clone, Default)]
pub struct Fields {
    name: Option<String>,
    locale: Option<String>,
    external_id: Option<String>,
    user_metadata: Option<String>,
    app_metadata: Option<String>,
}

impl Fields {
    /// Begins with no field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name that the owner wants to be called by.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the language of the owner, a tag of BCP 47 such as `en-GB`. Mails say it: [`Mail::locale`].
    ///
    /// [`Mail::locale`]: crate::Mail::locale
    #[must_use]
    pub fn locale(mut self, tag: impl Into<String>) -> Self {
        self.locale = Some(tag.into());
        self
    }

    /// Sets the id that another program knows the account by, which no other account may have.
    #[must_use]
    pub fn external_id(mut self, id: impl Into<String>) -> Self {
        self.external_id = Some(id.into());
        self
    }

    /// Replaces the JSON object that the owner may change.
    #[must_use]
    pub fn user_metadata(mut self, json: impl Into<String>) -> Self {
        self.user_metadata = Some(json.into());
        self
    }

    /// Replaces the JSON object that administrators alone may change.
    #[must_use]
    pub fn app_metadata(mut self, json: impl Into<String>) -> Self {
        self.app_metadata = Some(json.into());
        self
    }

    pub(super) fn carried(&self) -> Carried<'_> {
        let object = |json: &Option<String>| json.as_deref().map(NewObject::of_text);
        Carried {
            name: self.name.as_deref(),
            locale: self.locale.as_deref(),
            external_id: self.external_id.as_deref(),
            user_metadata: object(&self.user_metadata),
            app_metadata: object(&self.app_metadata),
        }
    }
}

impl fmt::Debug for Fields {
    /// Shows no value: they are the owner's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields(..)")
    }
}
