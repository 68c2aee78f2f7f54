//! What an account carries beside its credentials, as its owner or an administrator sends it.

use crate::flow::refusal::Refusal;
use crate::flow::sign_up::{new_locale, new_name};
use crate::registry::account::ExtraChange;
use crate::value::external_id;
use crate::value::json_object::{NewObject, ObjectFault};

/// What an account is to carry from now on. A field that is `None` stays as it is, an empty one is taken away. An object
/// replaces the one from before as a whole.
#[derive(Clone, Debug, Default)]
pub struct Carried<'a> {
    /// The name by which the owner wants to be called.
    pub name: Option<&'a str>,
    /// The language of the owner.
    pub locale: Option<&'a str>,
    /// The JSON object that the owner may change.
    pub user_metadata: Option<NewObject>,
    /// The JSON object that administrators alone may change.
    pub app_metadata: Option<NewObject>,
    /// The id that another program knows the account by.
    pub external_id: Option<&'a str>,
}

/// What can be stored of a [`Carried`].
pub(in crate::flow) struct Stored {
    /// The name; an empty one is none.
    pub(in crate::flow) name: Option<Box<str>>,
    /// All else.
    pub(in crate::flow) extra: ExtraChange,
}

impl Carried<'_> {
    /// Says whether everything stays as it is.
    pub(in crate::flow) const fn is_none(&self) -> bool {
        let Self { name, locale, user_metadata, app_metadata, external_id } = self;
        name.is_none()
            && locale.is_none()
            && user_metadata.is_none()
            && app_metadata.is_none()
            && external_id.is_none()
    }

    /// Checks every field and brings it to the form in which it is stored.
    pub(in crate::flow) fn stored(self) -> Result<Stored, Refusal> {
        let or_none = |typed: &str, parsed: Result<Box<str>, Refusal>| {
            if typed.is_empty() { Ok(Box::default()) } else { parsed }
        };
        let locale = self.locale.map(new_locale);
        let external_id = self.external_id.map(|typed| {
            or_none(
                typed,
                external_id::parse(typed).map_err(|error| wrong("/external_id", "invalid_id", error)),
            )
        });
        let object = |pointer, object: Option<NewObject>| {
            let wrong = |fault: ObjectFault| wrong(pointer, fault.code(), fault);
            object.map(|object| object.text().map_err(wrong)).transpose()
        };
        Ok(Stored {
            name: self.name.map(new_name).transpose()?,
            extra: ExtraChange {
                external_id: external_id.transpose()?,
                locale: locale.transpose()?,
                user_metadata: object("/user_metadata", self.user_metadata)?,
                app_metadata: object("/app_metadata", self.app_metadata)?,
                imported_ms: None,
            },
        })
    }
}

fn wrong(pointer: &'static str, code: &'static str, error: impl std::fmt::Display) -> Refusal {
    Refusal::Field { pointer, code, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_refused_by_its_name_and_an_empty_one_is_taken_away() {
        let object = |text: &str| Some(NewObject::of_text(text));
        for (carried, pointer, code) in [
            (Carried { name: Some("a\nb"), ..Carried::default() }, "/name", "invalid_name"),
            (Carried { locale: Some("en_GB"), ..Carried::default() }, "/locale", "invalid_locale"),
            (Carried { external_id: Some("a\nb"), ..Carried::default() }, "/external_id", "invalid_id"),
            (Carried { user_metadata: object("[]"), ..Carried::default() }, "/user_metadata", "invalid_type"),
            (
                Carried { app_metadata: object("{\"a\":1,\"a\":2}"), ..Carried::default() },
                "/app_metadata",
                "duplicate_field",
            ),
        ] {
            let refused = carried.stored().err();
            let Some(Refusal::Field { pointer: at, code: why, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!((at, why), (pointer, code));
        }
        let empty = Carried {
            name: Some(""),
            locale: Some(""),
            user_metadata: object("{}"),
            app_metadata: object(""),
            external_id: Some(""),
        };
        let Ok(Stored { name, extra }) = empty.stored() else { panic!() };
        let none = Some(Box::from(""));
        assert_eq!(name, none);
        assert_eq!(extra.locale, none);
        assert_eq!(extra.user_metadata, none);
        assert_eq!(extra.app_metadata, none);
        assert_eq!(extra.external_id, none);
        let Ok(Stored { name, extra }) = Carried::default().stored() else { panic!() };
        assert_eq!(name, None);
        assert!(extra.is_none());
    }
}
