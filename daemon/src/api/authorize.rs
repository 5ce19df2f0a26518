//! Who is asking, and whether that is enough. Users, roles and tokens join here; the routes' table
//! already says what each needs.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiState;
use super::problem::ApiError;
use crate::id::OrganizationId;

/// What a route demands, by the dotted names that roles hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: the exact list of open routes.
    Open,
    /// `workflows.read`
    WorkflowsRead,
    /// `workflows.execute`
    WorkflowsExecute,
    /// `workflows.schedule`
    WorkflowsSchedule,
    /// `system.logs.read`
    LogsRead,
    /// `secrets.read`: names, never values
    SecretsRead,
    /// `secrets.write`
    SecretsWrite,
    /// `workflows.state.read`
    StateRead,
    /// `workflows.state.write`
    StateWrite,
}

impl Permission {
    /// The dotted name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::WorkflowsRead => "workflows.read",
            Self::WorkflowsExecute => "workflows.execute",
            Self::WorkflowsSchedule => "workflows.schedule",
            Self::LogsRead => "system.logs.read",
            Self::SecretsRead => "secrets.read",
            Self::SecretsWrite => "secrets.write",
            Self::StateRead => "workflows.state.read",
            Self::StateWrite => "workflows.state.write",
        }
    }
}

/// How a request came in; put into its extensions by the door it came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The socket in the state folder, or the same process.
    Owner,
}

/// Proof that the caller may do what the route does. Every handler takes it first.
#[derive(Debug, Clone, Copy)]
pub struct Authorized {
    /// Whose things the caller sees.
    pub organization: OrganizationId,
}

impl FromRequestParts<ApiState> for Authorized {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, ApiError> {
        let permission = parts.extensions.get::<Permission>().copied();
        let door = parts.extensions.get::<Door>().copied();
        match (permission, door) {
            (Some(_), Some(Door::Owner)) | (Some(Permission::Open), None) => Ok(Self {
                organization: OrganizationId::ROOT,
            }),
            _ => Err(ApiError::unauthenticated()),
        }
    }
}
