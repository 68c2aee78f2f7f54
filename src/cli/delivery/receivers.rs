//! Checks whether the programs that the server calls can be reached. It connects and sends no request, so no event or question
//! is delivered twice.

/// The result of connecting to a receiver.
pub(in crate::cli) struct Probed {
    /// Names the receiver and its host, and says whether it was reached or why not.
    pub(in crate::cli) what: String,
    /// Whether there is a connection.
    pub(in crate::cli) is_reached: bool,
    /// Says what does not work without the connection.
    pub(in crate::cli) why: String,
    /// Says how to mend it.
    pub(in crate::cli) fix: String,
}

#[cfg(feature = "outbound")]
mod calls {
    use std::time::Duration;

    use portcullis::config::Config;
    use portcullis::server::outbound::probe::Unreached;
    use portcullis::server::outbound::{Receiver, ReceiverSpec, resolver};
    use tokio::task::JoinSet;

    use super::super::run_async;
    use super::Probed;

    /// How long a connection for a check may take.
    const CONNECT_WITHIN: Duration = Duration::from_secs(5);

    /// A receiver of the configuration, before it is asked for.
    struct Named<'a> {
        what: &'static str,
        spec: ReceiverSpec<'a>,
        why: String,
        /// The setting that names it, and what to run afterwards.
        setting: &'static str,
    }

    /// Connects to all receivers at once.
    pub(in crate::cli) fn probe_all(config: &Config) -> Vec<Probed> {
        let connect_to_all = async {
            let mut connecting = JoinSet::new();
            let mut unusable = Vec::new();
            for (number, named) in named(config).into_iter().enumerate() {
                // Its secret has a line of its own, and is not needed to connect.
                let receiver = Receiver::with(&named.spec, Vec::new().into(), resolver::of_system());
                let Named { what, why, setting, .. } = named;
                match receiver {
                    Ok(receiver) => connecting.spawn(async move {
                        let connected = receiver.connect(CONNECT_WITHIN).await;
                        (number, probed(&format!("{what} at {}", receiver.host()), why, setting, connected))
                    }),
                    Err(error) => {
                        let fix =
                            format!("install the certificates of authorities on this machine ({setting})");
                        let what = format!("{what}, {error}");
                        unusable.push((number, Probed { what, is_reached: false, why, fix }));
                        continue;
                    }
                };
            }
            let mut all = connecting.join_all().await;
            all.append(&mut unusable);
            all
        };
        let Ok(mut all) = run_async(connect_to_all) else { return Vec::new() };
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, probed)| probed).collect()
    }

    fn probed(receiver: &str, why: String, setting: &str, connected: Result<(), Unreached>) -> Probed {
        match connected {
            Ok(()) => Probed {
                what: format!("{receiver}, connected"),
                is_reached: true,
                why: String::new(),
                fix: String::new(),
            },
            Err(unreached) => Probed {
                what: format!("{receiver}, {unreached}"),
                is_reached: false,
                why,
                fix: format!("{} ({setting})", unreached.remedy()),
            },
        }
    }

    /// Returns all receivers that are set.
    fn named(config: &Config) -> Vec<Named<'_>> {
        let outbound = &config.outbound;
        let spec = |url, secret_file| ReceiverSpec {
            url,
            secret_file,
            outbound,
            may_be_local: false,
            timeout: CONNECT_WITHIN,
        };
        let alerts = config.alert.hook.as_ref().map(|hook| Named {
            what: "webhook of alerts",
            spec: ReceiverSpec { may_be_local: true, ..spec(&hook.webhook, &hook.secret_file) },
            why: String::from("no alert reaches anybody, but for the log"),
            setting: "[alert] webhook; then run: portcullis alert test",
        });
        let webhooks = config.webhooks.iter().map(|webhook| Named {
            what: "webhook",
            spec: spec(&webhook.url, &webhook.secret_file),
            why: String::from(
                "its events wait, and after three days without an answer it is called no longer",
            ),
            setting: "[[webhook]] url; portcullis webhook list says how the running server stands with it",
        });
        let hook = &config.hook;
        let hooks = [
            ("hook of sign-ups", "sign-up", "[hook] sign_up", &hook.sign_up),
            ("hook of log-ins and refreshes", "log-in and refresh", "[hook] claims", &hook.claims),
        ];
        let hooks = hooks.into_iter().filter_map(|(what, of, setting, url)| {
            let why = format!("every {of} is {}, as hook.on_error says", hook.on_error.done());
            Some(Named { what, spec: spec(url.as_deref()?, hook.secret()?), why, setting })
        });
        alerts.into_iter().chain(webhooks).chain(hooks).collect()
    }
}

#[cfg(feature = "outbound")]
pub(in crate::cli) use calls::probe_all;

#[cfg(not(feature = "outbound"))]
pub(in crate::cli) fn probe_all(_: &portcullis::Config) -> Vec<Probed> {
    Vec::new()
}
