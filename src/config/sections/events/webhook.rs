//! `[[webhook]]`: a program that is called with events. The section may stand in a file several times.

use std::collections::BTreeSet;

use crate::config::key::{KeyList, list, text};
use crate::config::reader::Reader;
use crate::config::secret_file::SecretFile;
use crate::config::sections::keys::secret_file;
use crate::config::sections::outbound::Outbound;
#[cfg(feature = "outbound")]
use crate::config::sections::outbound::receiver;
use crate::registry::event::{TYPES, Wanted};

/// The name of the section.
pub(in crate::config) const SECTION: &str = "webhook";
/// The keys of one of them.
pub(in crate::config) const KEYS: KeyList = KeyList(&[&[
    text("webhook.url", "", "URL to call: https://, or what outbound.allow lists."),
    text(
        "webhook.secret_file",
        "",
        "File whose first line is the secret that signs the calls (HMAC-SHA-256); or credential:NAME.",
    ),
    list("webhook.events", "Types of events, such as \"account.*\"; none: all of them."),
]]);

/// The comment that `portcullis init` writes about the section.
pub(in crate::config) const COMMENTED: &str = "
# A program that is called with events, in their order; the section may stand here up to 16 times.
#[[webhook]]
# URL to call: https://, or what outbound.allow lists.
#url = \"https://app.example.org/portcullis\"
# File whose first line is the secret that signs the calls (HMAC-SHA-256); or credential:NAME.
#secret_file = \"webhook.secret\"
# Types of events; left out: all of them.
#events = [\"account.*\", \"session.ended\"]
";

/// The most webhooks.
const MANY: usize = 16;

/// A program that is called with events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The URL to call.
    pub url: String,
    /// A file whose first line is the secret that signs the calls.
    pub secret_file: SecretFile,
    /// The types of events that it is told of.
    pub events: Wanted,
}

/// Reads every section of this name.
pub(in crate::config) fn read(reader: &mut Reader, outbound: &Outbound) -> Vec<Webhook> {
    let mut webhooks = Vec::new();
    let mut urls = BTreeSet::new();
    for (number, mut each) in reader.take_repeated().into_iter().enumerate() {
        if number == MANY {
            each.wrong("webhook.url", format!("is one too many: there may be {MANY} webhooks"));
        }
        if let Some(webhook) = read_one(&mut each, outbound) {
            if !urls.insert(webhook.url.clone()) {
                each.wrong("webhook.url", "is that of another webhook, whose position it would share");
            }
            webhooks.push(webhook);
        }
        reader.absorb(each);
    }
    webhooks
}

fn read_one(reader: &mut Reader, outbound: &Outbound) -> Option<Webhook> {
    #[cfg(not(feature = "outbound"))]
    let url = {
        let _ = outbound;
        reader.not_available("webhook.url", Some("outbound"));
        reader.text("webhook.url")
    };
    #[cfg(feature = "outbound")]
    let url = receiver(reader, "webhook.url", outbound, false);
    if reader.text("webhook.url").is_none() {
        reader.wrong("webhook.url", "must be set");
    }
    let is_set = reader.path("webhook.secret_file").is_some();
    let secret_file = secret_file(reader, "webhook.secret_file");
    if secret_file.is_none() && !is_set {
        reader.wrong("webhook.secret_file", "must be set: its first line signs the calls");
    }
    let patterns: Vec<String> = reader.list("webhook.events", "a type of events");
    let events = Wanted::parse(patterns.iter().map(String::as_str));
    if let Err(pattern) = events {
        let known = TYPES.join(", ");
        reader.wrong("webhook.events", format!("holds {pattern:?}, which is no type of events: {known}"));
    }
    Some(Webhook { url: url?, secret_file: secret_file?, events: events.ok()? })
}

#[cfg(test)]
#[cfg(feature = "outbound")]
mod tests {
    use crate::config::tests::load;

    const ONE: &str = "[[webhook]]\nurl = \"https://a.example.org/x\"\nsecret_file = \"s\"\n";

    #[test]
    fn webhooks_are_read_in_their_order_with_the_events_that_each_wants() {
        let text = format!(
            "{ONE}events = [\"account.*\"]\n[[webhook]]\nurl = \"https://b.example.org\"\nsecret_file = \"t\"\n"
        );
        let config = load(&text, &[]).unwrap();
        let urls: Vec<_> = config.webhooks.iter().map(|webhook| webhook.url.as_str()).collect();
        assert_eq!(urls, ["https://a.example.org/x", "https://b.example.org"]);
        let wants = |at: usize, name| config.webhooks[at].events.has(name);
        assert!(wants(0, "account.created") && !wants(0, "session.opened") && wants(1, "session.opened"));
        assert_eq!(load("", &[]).unwrap().webhooks.len(), 0);
    }

    #[test]
    fn every_mistake_in_a_webhook_is_named_with_its_line() {
        for (text, said) in [
            ("[[webhook]]\n", "`webhook.url` must be set"),
            ("[[webhook]]\nurl = \"https://a.example.org\"\n", "`webhook.secret_file` must be set"),
            (
                &format!("{ONE}event = [\"account\"]\n"),
                "unknown key `webhook.event`; did you mean `webhook.events`?",
            ),
            (
                &format!("{ONE}events = [\"acount.*\"]\n"),
                "holds \"acount.*\", which is no type of events: account.created,",
            ),
            (&format!("{ONE}events = 7\n"), "must be a list of texts"),
            (&ONE.replace("a.example.org", "10.0.0.1"), "leads to 10.0.0.1, which is not public"),
            (&ONE.replace("https", "http"), "must be https://"),
            (&ONE.replace("https://", "https://u:p@"), "must not hold a user or a password"),
            (&format!("{ONE}{ONE}"), "is that of another webhook"),
            ("[webhook]\nurl = \"https://a.example.org\"\n", "write [[webhook]]"),
        ] {
            let faults = load(text, &[]).err().unwrap_or_default();
            assert!(faults.iter().any(|fault| fault.contains(said)), "{text}: {faults:?}");
        }
        let many: String = (0..17).map(|at| ONE.replace("a.example", &format!("a{at}.example"))).collect();
        let faults = load(&many, &[]).err().unwrap();
        assert!(faults.len() == 1 && faults[0].contains("is one too many"), "{faults:?}");
    }
}
