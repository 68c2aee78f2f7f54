//! Records with times that lie in the future because the clock was ahead when they were written: changed so that nobody
//! has to wait for those times.

use crate::journal::format::codec::Stored;
use crate::journal::format::entry::Change;
use crate::registry::account::AccountV4;
use crate::registry::lockout::CountV2;
use crate::registry::record::{ReadError, Record, Write};
use crate::system::clock::Timestamp;

/// Returns the write that brings the times of a record down to `now`; `None` if none has to be.
///
/// Security: the caller ends every session and token, so bounds of what lived before are not needed. A lock ends early,
/// and the failures that it was for still count.
pub fn brought_down(
    table: u16,
    schema: u16,
    value: &[u8],
    now: Timestamp,
) -> Result<Option<Change>, ReadError> {
    let change = match table {
        <AccountV4 as Stored>::TABLE => {
            let account = AccountV4::read(schema, value)?;
            if account.tokens_from_secs <= now.as_secs() {
                return Ok(None);
            }
            Write::Put(AccountV4 { tokens_from_secs: now.as_secs(), ..account }).to_change()
        }
        <CountV2 as Stored>::TABLE => {
            let count = CountV2::read(schema, value)?;
            if count.last_ms.max(count.locked_until_ms) <= now.as_millis() {
                return Ok(None);
            }
            Write::Put(CountV2 {
                last_ms: count.last_ms.min(now.as_millis()),
                locked_until_ms: count.locked_until_ms.min(now.as_millis()),
                mail_day_ms: count.mail_day_ms.min(now.as_millis()),
                ..count
            })
            .to_change()
        }
        _ => return Ok(None),
    };
    Ok(Some(change?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::codec::{decode, encode};

    #[test]
    fn locks_and_bounds_of_tokens_end_now_and_failures_still_count() {
        let now = Timestamp::from_secs(1_800_000_000);
        let later = now.as_millis() + 86_400_000;
        let count = CountV2 {
            failures: 7,
            consecutive: 7,
            last_ms: later,
            locked_until_ms: later,
            ..CountV2::default()
        };
        let bring_down = |count: &CountV2| {
            let change = brought_down(CountV2::TABLE, CountV2::SCHEMA, &encode(count).unwrap(), now).unwrap();
            change.map(|change| decode::<CountV2>(&change.value.unwrap()).unwrap())
        };
        let down = bring_down(&count).unwrap();
        assert_eq!(down.locked_until_ms, now.as_millis());
        assert_eq!(down.failures, 7);
        assert_eq!(bring_down(&down), None);
        assert!(brought_down(AccountV4::TABLE, 99, b"", now).is_err());
        assert!(matches!(brought_down(200, 1, b"", now), Ok(None)));
    }
}
