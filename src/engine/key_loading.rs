//! How keys and peppers are loaded at a start.

use std::sync::Arc;
use std::time::Duration;

use super::partition::StartError;
use crate::config::Config;
use crate::password::pepper::{PepperError, Peppers};
use crate::system::clock::Timestamp;
use crate::token::key_files::pepper_marker;
use crate::token::signing_key::Signing;
use crate::token::{self, KeyCheck, KeyError, KeyFiles, Keys, Signer, feed};
use crate::value::file_text;

/// Returns how long a signing key verifies after its successor began to sign: as long as its last token lives.
pub(super) fn overlap(config: &Config) -> Duration {
    config.token.access_ttl + feed::LEEWAY
}

/// Loads the keys. Seals their files if there is a master key now, and adds a signing key if the configuration asks for
/// another algorithm than the newest has.
///
/// Signing keys other than the `known` ones, which the journal remembers, are set aside: an old copy of the directory of
/// keys brings back keys that were retired, or that a restore has ended, and a thief may have them.
pub(super) fn load(
    files: &KeyFiles,
    config: &Config,
    known: &[KeyCheck],
    now: Timestamp,
) -> Result<Keys, StartError> {
    for file in Keys::set_aside_signing(files, known)? {
        let dir = config.keys.dir.display();
        tracing::error!(
            %file,
            "this signing key in {dir} was retired, or is older than a restore, so it is not used; its file has the ending \
             .set-aside now: delete it, and any other copy of it"
        );
    }
    let sealed = files.seal_all()?;
    if sealed > 0 {
        tracing::info!(
            files = sealed,
            "sealed the key files under keys.master_file; copies and backups from before still hold them open"
        );
    }
    let scheme = config.token.algorithm;
    let mut keys = Keys::load(files, scheme, now)?;
    let newest = keys.signing.first().map(|key| token::scheme_of(&key.pkcs8)).transpose()?;
    if newest.is_some_and(|newest| newest != scheme) {
        let added = Keys::add_signing(files, scheme, now + config.token.publish_ahead);
        keys.signing = added.map_err(|error| std::io::Error::other(error.to_string()))?;
    }
    Ok(keys)
}

/// Reads the peppers of passwords.
///
/// Errors: a file that cannot be read or has another form; a pepper that was used and is not there.
pub fn peppers(files: &KeyFiles, config: &Config) -> Result<Arc<Peppers>, StartError> {
    let peppers = peppers_in_file(config)?;
    if let Some(id) = files.used_peppers()?.into_iter().find(|id| !peppers.has(id)) {
        let marker = pepper_marker(&id);
        return Err(PepperError::Missing { id, marker }.into());
    }
    Ok(Arc::new(peppers))
}

/// Reads the peppers in `password.pepper_file`; none if it is not set.
pub fn peppers_in_file(config: &Config) -> Result<Peppers, PepperError> {
    let Some(file) = &config.password.pepper_file else { return Ok(Peppers::default()) };
    let place = file.to_string();
    let unreadable = |source| PepperError::Unreadable { place: place.clone(), source };
    let bytes = file.read().map_err(unreadable)?;
    let text = file_text::text(&bytes).map_err(|error| unreadable(std::io::Error::other(error)))?;
    Peppers::parse(text, &place)
}

/// Remembers in the directory of the keys which pepper is used, so that a later start without it is refused.
pub(super) fn remember_pepper(files: &KeyFiles, peppers: &Peppers) -> std::io::Result<()> {
    let Some(newest) = peppers.newest() else { return Ok(()) };
    if files.used_peppers()?.iter().any(|id| id == newest) {
        return Ok(());
    }
    files.remember_pepper(newest)
}

/// Builds the signer of the keys `signing`.
pub(super) fn signer(config: &Config, signing: &[Signing]) -> Result<Signer, KeyError> {
    let signer = Signer::new(signing, config.http.public_origin.as_str(), &config.token.audience)?;
    Ok(signer.with_overlap(overlap(config)))
}
