//! The caller of an endpoint that services use too: a person who has signed in, or a service with an API key.

use std::sync::Arc;

use crate::engine::Engine;
use crate::flow::admin::Admin;
use crate::flow::authenticate::Identity;
use crate::flow::client::Client;
use crate::flow::refusal::Refusal;
use crate::registry::api_key::{ApiKeyV1, Scope};

/// The caller of an endpoint.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A person, by the roles of the account.
    Person(Arc<Identity>),
    /// A service, by the scopes of its API key.
    Service(Arc<ApiKeyV1>),
}

impl Caller {
    /// Checks that the person has one of `roles`, or that the key of the service has `scope`.
    pub fn may(&self, roles: &[&str], scope: Scope) -> Result<(), Refusal> {
        match self {
            Self::Person(identity) => identity.check_role(roles),
            Self::Service(key) if key.may(scope) => Ok(()),
            Self::Service(_) => Err(Refusal::InsufficientScope),
        }
    }

    /// Returns the id of the account or of the API key.
    pub fn id(&self) -> [u8; 16] {
        match self {
            Self::Person(identity) => identity.account.account_id().to_bytes(),
            Self::Service(key) => key.id,
        }
    }

    /// Returns the administrator, or the service that may do what `scope` stands for. A person who is to change something
    /// must have proved who they are a moment ago.
    pub fn admin(&self, engine: &Engine, client: &Client, scope: Scope) -> Result<Admin, Refusal> {
        match self {
            Self::Person(identity) if scope == Scope::AdminWrite => {
                Admin::who_may_write(engine, identity, client)
            }
            Self::Person(identity) => Admin::of(identity, client),
            Self::Service(key) if key.may(scope) => Ok(Admin::service(key, client)),
            Self::Service(_) => Err(Refusal::InsufficientScope),
        }
    }
}
