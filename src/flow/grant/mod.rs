//! Credentials for a client that has proved its identity: a pair of tokens, or a session cookie.

mod added_claims;
mod again;
mod further_claims;
pub mod issue;
pub mod renew;
pub mod session_limit;

use std::fmt;

use crate::engine::hooks::{AddedClaims, ClaimsReason, CredentialKind};
use crate::engine::{Engine, Fault};
use crate::flow::client::Client;
use crate::flow::refusal::FlowError;
use crate::journal::append::handle::Sealed;
use crate::registry::account::AccountV4;
use crate::registry::account::actor::ById;
use crate::registry::record::{BY_PASSWORD, BY_PROGRAM};
use crate::registry::refresh::{self, Audience, FamilyV3, OpenFamily, OpenedFamily};
use crate::registry::session::{self, OpenSession, OpenedSession, SessionV2};
use crate::system::clock::Timestamp;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::token::{Claims, OwnClient};
use crate::value::id::{FamilyId, SessionId};

/// A credential for a client, and what the answer says of its account.
pub struct Opened {
    /// The account that the credential belongs to.
    #[doc(hidden)]
    pub account: AccountV4,
    /// The credential.
    #[doc(hidden)]
    pub grant: Grant,
    /// The device cookie, after a log-in.
    #[doc(hidden)]
    pub device: Option<String>,
}

impl fmt::Debug for Opened {
    /// Leaves out the credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("account", &self.account.account_id()).finish_non_exhaustive()
    }
}

/// The credential that a log-in or a refresh issues.
pub enum Grant {
    /// A pair of tokens.
    Tokens {
        /// The signed access token.
        access: String,
        /// When the access token expires.
        access_end: Timestamp,
        /// The opaque refresh token.
        refresh: zeroize::Zeroizing<String>,
        /// When the refresh token expires if it is not used.
        refresh_end: Timestamp,
        /// The family of the refresh token.
        family: FamilyId,
    },
    /// A session cookie.
    Cookie {
        /// The value of the cookie.
        token: zeroize::Zeroizing<String>,
        /// The session.
        session: SessionV2,
    },
}

/// The credential to issue.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// A pair of tokens.
    Family {
        /// The audience of its access tokens.
        audience: Audience,
        /// Whether it takes the place of another credential, with a change that is done already.
        replaces: bool,
    },
    /// A session cookie.
    Session {
        /// Whether the cookie outlives the browser's session.
        remember: bool,
        /// The first session in this browser, if the new one replaces one.
        root: Option<[u8; 16]>,
    },
}

impl Wanted {
    /// Returns the kind of credential.
    const fn kind(self) -> CredentialKind {
        match self {
            Self::Family { .. } => CredentialKind::Tokens,
            Self::Session { .. } => CredentialKind::Cookie,
        }
    }
}

/// When and how the user of a new credential proved who they are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proved {
    /// With this request, by the password.
    Now,
    /// With this request, to the embedding program.
    ToProgram,
    /// At this time, by these methods: the new credential replaces one, and is no fresher.
    At(Timestamp, u16),
}

impl Proved {
    /// Returns the time, unless it is that of this request.
    const fn earlier(self) -> Option<Timestamp> {
        match self {
            Self::Now | Self::ToProgram => None,
            Self::At(time, _) => Some(time),
        }
    }

    /// Returns the methods, as bits.
    const fn methods(self) -> u16 {
        match self {
            Self::Now => BY_PASSWORD,
            Self::ToProgram => BY_PROGRAM,
            Self::At(_, methods) => methods,
        }
    }
}

/// Returns the methods as an access token names them (RFC 8176). The server knows none for a user whom a program vouches for.
fn amr(methods: u16) -> Vec<String> {
    let named = (methods & BY_PASSWORD != 0).then(|| String::from("pwd"));
    named.into_iter().collect()
}

/// A new family or session, with the secret that only the client gets.
pub(crate) enum Issued {
    Family(FamilyV3, Secret, AddedClaims),
    Session(SessionV2, Secret),
}

impl Issued {
    /// Returns the id of the session, as the list of sessions shows it.
    pub(crate) fn sid(&self) -> [u8; 16] {
        match self {
            Self::Family(family, ..) => family.id.to_bytes(),
            Self::Session(session, _) => session.id,
        }
    }
}

impl Engine {
    /// Signs an access token of a family whose user proved at `proved`, by `methods`, who they are. It does not outlive the family: a
    /// resource server that checks tokens by itself would accept it longer. Returns the token and its expiry.
    pub(crate) fn access_token(
        &self,
        account: &AccountV4,
        family: &FamilyV3,
        proved: Timestamp,
        added: &AddedClaims,
        methods: u16,
    ) -> Result<(String, Timestamp), FlowError> {
        let now = self.clock.now();
        // Other machines compare the times in a token with their own, so they are the system's.
        let issued = self.clock.system_now();
        let life = self.services.config.token.access_ttl.min(Timestamp(family.idle_end_ms).since(now));
        let end = issued + life;
        let sid = family.id.to_string();
        let jti = self.services.token_marks.id(self.services.random.bytes()?, &sid, end.as_secs());
        let signer = self.services.signer.read();
        let aud = match family.audience {
            Audience::App => signer.audience(),
            Audience::Admin => signer.admin_audience(),
        };
        let claims = Claims {
            client_id: OwnClient,
            iss: signer.issuer().to_owned(),
            sub: account.account_id().to_string(),
            aud: aud.to_owned(),
            exp: end.as_secs(),
            // A token of the second in which the account lost a role has the roles that are left.
            iat: issued.as_secs().max(account.tokens_from_secs),
            jti,
            sid,
            roles: account.roles.iter().map(ToString::to_string).collect(),
            auth_time: (issued - now.since(proved)).as_secs(),
            amr: amr(methods),
        };
        let text = signer.sign_with(&claims, &added.after(self.further_claims(account)), now)?;
        Ok((text, Timestamp::from_secs(claims.exp)))
    }

    /// Opens what a client that has proved its identity wants, for `reason`, if the hook lets it in. The answer is sealed until
    /// it is durable.
    pub(crate) async fn issue(
        &self,
        account: &AccountV4,
        wanted: Wanted,
        proved: Proved,
        client: &Client,
        reason: ClaimsReason,
    ) -> Result<Sealed<Issued>, FlowError> {
        let added = self.added_claims(account, client, reason, wanted.kind()).await?;
        if self.services.has_claims_hook() {
            Box::pin(self.require_unchanged(account)).await?;
        }
        match wanted {
            Wanted::Family { audience, replaces } => {
                let issued = self.issue_family(account, audience, replaces, proved, client).await?;
                Ok(issued.map(|(family, secret)| Issued::Family(family, secret, added)))
            }
            Wanted::Session { remember, root } => {
                let (open, secret) = self.new_session(account, remember, root, proved, client)?;
                self.issue_session(open, secret, client).await
            }
        }
    }

    /// Checks that nothing has changed in `account` while a hook was asked, which may take seconds: roles that were taken away
    /// since, or sessions that were ended, must not come back with a token that is made now.
    ///
    /// Errors: [`Fault::Hook`], so that the client tries again, and is judged anew.
    async fn require_unchanged(&self, account: &AccountV4) -> Result<(), FlowError> {
        let current = self.accounts.ask(ById { id: account.account_id() }).await?;
        let is_unchanged = current.is_some_and(|current| {
            current.auth_epoch == account.auth_epoch
                && current.status == account.status
                && current.roles == account.roles
                && current.tokens_from_secs == account.tokens_from_secs
        });
        if is_unchanged { Ok(()) } else { Err(Fault::Hook.into()) }
    }

    async fn issue_family(
        &self,
        account: &AccountV4,
        audience: Audience,
        replaces: bool,
        proved: Proved,
        client: &Client,
    ) -> Result<Sealed<(FamilyV3, Secret)>, FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        let open = OpenFamily {
            id: FamilyId::mint(account.account_id().slot(), self.services.random.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
            audience,
            proved: proved.earlier(),
            methods: proved.methods(),
            replaces,
        };
        let sessions = session::actor::OpenCount { account: open.account };
        let sessions = self.sessions.ask_sealed(sessions).await?;
        let opened = sessions.join(self.refresh.ask_sealed(open).await?);
        let has_room = opened.then(async |(sessions, OpenedFamily { family, open })| {
            self.make_room(family.account, family.id.to_bytes(), sessions + open, client).await
        });
        Ok(has_room.await?.map(|((_, opened), ())| (opened.family, secret)))
    }

    /// Turns a new family or session into the credential for the client.
    pub(crate) fn grant(&self, account: &AccountV4, issued: Issued) -> Result<Grant, FlowError> {
        match issued {
            Issued::Family(family, secret, added) => self.token_grant(account, &family, secret, &added),
            Issued::Session(session, secret) => {
                let token = OpaqueToken { kind: TokenKind::Session, id: session.id, generation: 0, secret };
                Ok(Grant::Cookie { token: self.services.edge.write(&token), session })
            }
        }
    }

    /// Signs an access token, and writes the refresh token of `family` with `secret`.
    pub(crate) fn token_grant(
        &self,
        account: &AccountV4,
        family: &FamilyV3,
        secret: Secret,
        added: &AddedClaims,
    ) -> Result<Grant, FlowError> {
        let proved = Timestamp(family.proved_ms);
        let (access, access_end) = self.access_token(account, family, proved, added, family.methods)?;
        let token = OpaqueToken {
            kind: TokenKind::Refresh,
            id: family.id.to_bytes(),
            generation: family.generation,
            secret,
        };
        Ok(Grant::Tokens {
            access,
            access_end,
            refresh: self.services.edge.write(&token),
            refresh_end: self.clock.in_system(Timestamp(family.idle_end_ms)),
            family: family.id,
        })
    }

    /// Opens a browser session with the secret of its cookie. The answer is sealed until the session is durable.
    async fn issue_session(
        &self,
        open: OpenSession,
        secret: Secret,
        client: &Client,
    ) -> Result<Sealed<Issued>, FlowError> {
        let account = open.account;
        let families = refresh::actor::OpenCount { account };
        let families = self.refresh.ask_sealed(families).await?;
        let opened = families.join(self.sessions.ask_sealed(open).await?);
        let has_room = opened.then(async |(families, OpenedSession { session, open })| {
            self.make_room(account, session.id, families + open, client).await
        });
        Ok(has_room.await?.map(|((_, opened), ())| Issued::Session(opened.session, secret)))
    }

    /// Returns a session to open for a client that has proved its identity, and the secret of its cookie. `root` is that of
    /// the session which it replaces.
    fn new_session(
        &self,
        account: &AccountV4,
        remember: bool,
        root: Option<[u8; 16]>,
        proved: Proved,
        client: &Client,
    ) -> Result<(OpenSession, Secret), FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        let open = OpenSession {
            id: SessionId::mint(account.account_id().slot(), self.services.random.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            remember,
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
            root,
            proved: proved.earlier(),
            methods: proved.methods(),
        };
        Ok((open, secret))
    }
}
