//! Whether who is asking may do what the route does. Every handler takes [`Authorized`] first, so that
//! nothing of a request is looked at before.
//!
//! Who somebody is and what they hold is the business of `access`; what a route demands, of its table.

use std::net::SocketAddr;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};

use super::ApiState;
use super::json::is_json;
use super::problem::ApiError;
pub use crate::access::Permission;
use crate::access::{Caller, Means, Refusal};

/// How a request came in; put into its extensions by the door it came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The socket in the state folder, or the same process.
    Owner,
    /// TCP, from this address.
    Network(SocketAddr),
}

/// The header that names an organization other than the one that the caller sees first, by id or name.
pub const ORGANIZATION: HeaderName = HeaderName::from_static("x-organization");

/// Proof that the caller may do what the route does: `caller.organization`, `caller.user`,
/// `caller.may(permission)`.
#[derive(Debug, Clone, Copy)]
pub struct Authorized(Caller);

impl Deref for Authorized {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<ApiState> for Authorized {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // A request without either came past the table or past the doors: nobody is let in.
        let demanded = parts.extensions.get::<Permission>().copied();
        let door = parts.extensions.get::<Door>().copied();
        let (Some(demanded), Some(door)) = (demanded, door) else {
            return Err(ApiError::unauthenticated());
        };
        let caller = match door {
            Door::Owner => known(state.access.owner(organization(&parts.headers)?).await?)?,
            Door::Network(peer) => from_network(parts, state, demanded, peer).await?,
        };
        if caller.may(demanded) {
            return Ok(Self(caller));
        }
        Err(match caller.means {
            Means::Nothing => ApiError::unauthenticated(),
            _ if caller.must_change_password => ApiError::denied(
                "auth.password-change-required",
                "this is a one-time password: change it first with POST /v0/users/me/password",
            ),
            _ => ApiError::forbidden(demanded),
        })
    }
}

async fn from_network(
    parts: &Parts,
    state: &ApiState,
    demanded: Permission,
    peer: SocketAddr,
) -> Result<Caller, ApiError> {
    let headers = &parts.headers;
    let address = Some(state.edge.client(peer.ip(), headers));
    let changes = !matches!(parts.method, Method::GET | Method::HEAD);
    if demanded == Permission::Open {
        // Also who is logged in is not to be logged in as somebody else by a page of another site.
        if changes {
            state.edge.same_site(headers)?;
        }
        return Ok(Caller::nobody(address));
    }
    let organization = organization(headers)?;
    if let Some(token) = bearer(headers)? {
        return known(state.access.by_token(token, organization, address).await?);
    }
    let Some(cookie) = state.edge.session(headers) else {
        return Ok(Caller::nobody(address));
    };
    if changes {
        state.edge.same_site(headers)?;
        // A form of another site can send text, and no JSON.
        let unsaid = is_json(headers).is_none();
        let empty = headers
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length == "0")
            && !headers.contains_key(header::TRANSFER_ENCODING);
        if !(is_json(headers) == Some(true) || (unsaid && empty)) {
            return Err(ApiError::denied(
                "auth.cross-site",
                "with a cookie only JSON is taken: Content-Type: application/json",
            ));
        }
    }
    known(
        state
            .access
            .by_cookie(cookie, organization, address)
            .await?,
    )
}

fn known(caller: Result<Caller, Refusal>) -> Result<Caller, ApiError> {
    caller.map_err(|refusal| match refusal {
        Refusal::NoOrganization => ApiError::not_found("organization"),
        other => ApiError::not_let_in(other.code(), other.to_string()),
    })
}

/// The token of `Authorization: Bearer TOKEN`. Nowhere else is one looked for: addresses come into logs.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim_start())
    });
    match (token, given.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(ApiError::not_let_in(
            "auth.malformed",
            "one header Authorization: Bearer TOKEN is understood",
        )),
    }
}

fn organization(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(&ORGANIZATION) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ApiError::not_found("organization")),
    }
}

/// The argument lists that begin with [`Authorized`], as axum's handlers name them. Routes take no others.
pub trait AuthorizedFirst {}

macro_rules! authorized_first {
    ($([$($more:ident)*])*) => {$(
        impl<M, $($more,)*> AuthorizedFirst for (M, Authorized, $($more,)*) {}
    )*};
}
authorized_first!([] [A] [A B] [A B C] [A B C D] [A B C D E] [A B C D E F]);
