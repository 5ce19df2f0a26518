//! Folders in `flows/` are organizations: the name of one is the name of the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Reload, scan};
use crate::catalog::ProblemKind;
use crate::id::{OrganizationId, WorkflowName};
use crate::store::StoreError;
use crate::store::access::{AccessWrite, OrganizationRow};

/// The name of the organization that has no folder.
const ROOT_NAME: &str = "root";

/// Whether a folder of this name in `flows/` is an organization's.
pub fn is_organization(folder: &str) -> bool {
    folder != ROOT_NAME && folder.parse::<WorkflowName>().is_ok()
}

impl Reload {
    /// The folders with their organizations. A new folder is a new organization.
    pub(super) async fn organizations(&mut self, flows: &Path) -> BTreeMap<String, OrganizationId> {
        let folder = flows.to_owned();
        let listed = tokio::task::spawn_blocking(move || scan::folders(&folder)).await;
        // That the folder cannot be listed is told where its files are looked for.
        let Ok(Ok(folders)) = listed else {
            return BTreeMap::new();
        };
        // A folder that is gone has no wrong name any more.
        self.draft
            .problems
            .retain(|file, _| match file.strip_prefix("flows/") {
                Some(name) if !name.contains('/') && !name.ends_with(".toml") => {
                    folders.iter().any(|folder| folder == name)
                }
                _ => true,
            });
        let mut names = Vec::new();
        for name in folders {
            // What tools and people hide is none; what looks like a file is refused as one.
            if name.starts_with(['.', '_']) || name.ends_with(".toml") {
                continue;
            }
            let label: Arc<str> = format!("flows/{name}").into();
            if is_organization(&name) {
                self.no_problem(&label);
                names.push(name);
                continue;
            }
            let why = "is not an organization's name: a lower-case letter, then up to 62 of a-z, 0-9, '-' and '_', and not `root`";
            self.problem(&label, ProblemKind::Refused(why.to_owned()), None);
        }
        if names.is_empty() {
            return BTreeMap::new();
        }
        match self.owners(&names).await {
            Ok(owners) => owners,
            Err(error) => {
                tracing::warn!(%error, "organizations cannot be read; their folders are looked at again");
                self.retry_soon();
                self.known_owners(&names)
            }
        }
    }

    async fn owners(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, OrganizationId>, StoreError> {
        let mut rows = self.parts.people.organizations().await?;
        let known =
            |rows: &[OrganizationRow], name: &String| rows.iter().any(|row| row.name == *name);
        for name in names.iter().filter(|name| !known(&rows, name)) {
            let row = OrganizationRow {
                organization_id: OrganizationId::generate(),
                name: name.clone(),
                created_at: self.parts.clock.now(),
            };
            tracing::info!(organization = %name, "a new folder is a new organization");
            // Where somebody else was faster, theirs counts.
            self.parts
                .people
                .access_write(vec![AccessWrite::AddOrganization(row)])
                .await?;
        }
        if names.iter().any(|name| !known(&rows, name)) {
            rows = self.parts.people.organizations().await?;
        }
        let owners = rows.into_iter().filter(|row| names.contains(&row.name));
        Ok(owners.map(|row| (row.name, row.organization_id)).collect())
    }

    /// What is known of folders from their files, while the store cannot be asked.
    fn known_owners(&self, names: &[String]) -> BTreeMap<String, OrganizationId> {
        let known = self.flows.iter().filter_map(|(file, known)| {
            let (folder, _) = file.split_once('/')?;
            Some((folder.to_owned(), known.organization))
        });
        known.filter(|(folder, _)| names.contains(folder)).collect()
    }
}
