//! The door for the machine's own operator: a Unix socket that only its owner can open.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::Router;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// The socket's name in the state folder.
pub const SOCKET_NAME: &str = "daemon.sock";

/// Serves the router on `state/daemon.sock` (mode 0600) until `stop`; requests under way are
/// finished. The caller holds the state folder's lock, so a socket that is there is a dead one.
pub async fn serve_socket(state: &Path, router: Router, stop: CancellationToken) -> io::Result<()> {
    let path = state.join(SOCKET_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    tracing::info!(socket = %path.display(), "listening");
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await?;
    std::fs::remove_file(&path)
}
