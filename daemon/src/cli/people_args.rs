//! The arguments of the commands about users, roles, tokens and organizations.

use clap::{Args, Subcommand};

use crate::units::Span;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// List the users of the organization.
    List {
        /// Only those with this in their address or name.
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Show a user.
    Show {
        /// Address or id.
        user: String,
    },
    /// Make a user, and print a one-time password for them.
    Create {
        /// The address they log in with.
        email: String,
        /// How they are called [default: the address up to its @].
        #[arg(long)]
        name: Option<String>,
        /// A role, by name or id; may be repeated [default: USER].
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Where they work, by name or id.
        #[arg(long)]
        department: Option<String>,
        /// As what, by name or id.
        #[arg(long)]
        position: Option<String>,
    },
    /// Give a user exactly these roles. Their sessions end.
    Roles {
        /// Address or id.
        user: String,
        /// Roles, by name or id.
        roles: Vec<String>,
    },
    /// Print a new one-time password for a user; without one, for the first administrator who never set their own.
    Password {
        /// Address or id.
        user: Option<String>,
    },
    /// Keep a user out: sessions end, tokens are refused.
    Disable {
        /// Address or id.
        user: String,
    },
    /// Let a disabled user in again.
    Enable {
        /// Address or id.
        user: String,
    },
    /// Delete a user with sessions and tokens.
    Delete {
        /// Address or id.
        user: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// List the roles that can be given.
    List,
    /// Show a role with its permissions.
    Show {
        /// Name or id.
        role: String,
    },
    /// Make a role of the organization.
    Create {
        /// Its name.
        name: String,
        /// A permission; may be repeated.
        #[arg(long = "permission", value_name = "PERMISSION", required = true)]
        permissions: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Delete a role of the organization.
    Delete {
        /// Name or id.
        role: String,
    },
    /// List everything that can be permitted.
    Permissions,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List tokens by how they begin.
    List,
    /// Make a token, and print it once.
    Create {
        /// What it is for.
        name: String,
        /// A permission; may be repeated [default: all that the user holds].
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// How long it is valid: 12h, 90d; at most 366d.
        #[arg(long, default_value = "90d")]
        expires_in: Span,
        /// Whose it is, by address or id [default: the caller's].
        #[arg(long)]
        user: Option<String>,
    },
    /// Revoke a token.
    Revoke {
        /// Its id.
        token: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum OrganizationCommand {
    /// List organizations.
    List,
    /// Make an organization, and its folder in flows/.
    Create {
        /// Its name, which is that of its folder.
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct AuditArguments {
    /// Only this deed (`user.create`), or those of a resource (`user.`).
    #[arg(long)]
    pub action: Option<String>,
    /// Only to this.
    #[arg(long)]
    pub target: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
}
